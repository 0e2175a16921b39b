import { Stack } from '@mantine/core';
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
        {status ? (
          <>
            <Service status={status} />
            <Partitions status={status} />
          </>
        ) : (
          <ProblemAlert error={error} />
        )}
        <Token />
        <Configuration />
      </Stack>
    </>
  );
}
