import { Grid, Stack } from '@mantine/core';
import { useStatus } from '../../api';
import { PageHeader, ProblemAlert } from '../../components';
import { Configuration } from './Configuration';
import { Partitions } from './Partitions';
import { Service } from './Service';
import { Token } from './Token';

/** The service as it is configured and as it runs, and the token that this browser sends. */
export default function SettingsPage() {
  const { data: status, error } = useStatus();
  return (
    <>
      <PageHeader title="Settings" description="The service as it runs, its configuration, and the token of this browser." />
      <Stack gap="md">
        <Grid gap="md" align="stretch">
          <Grid.Col span={{ base: 12, lg: 8 }}>{status ? <Service status={status} /> : <ProblemAlert error={error} />}</Grid.Col>
          <Grid.Col span={{ base: 12, lg: 4 }}>
            <Token />
          </Grid.Col>
        </Grid>
        {status && <Partitions status={status} />}
        <Configuration />
      </Stack>
    </>
  );
}
