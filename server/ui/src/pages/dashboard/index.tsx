import { Grid, Skeleton, Stack } from '@mantine/core';
import { useStatus, useStatusHistory } from '../../api';
import { PageHeader, ProblemAlert, RelativeTime } from '../../components';
import { plural } from '../../lib/format';
import { Attention } from './Attention';
import { Charts } from './Charts';
import { Feed } from './Feed';
import { Health } from './Health';
import { Sizes } from './Sizes';

/** How the service does: what needs attention, health, live charts, members, and who enters and leaves. */
export default function DashboardPage() {
  const { data: status, error } = useStatus();
  const history = useStatusHistory();
  return (
    <>
      <PageHeader
        title="Dashboard"
        description={
          status && (
            <>
              {plural(status.running, 'segment')} over {plural(status.partitions.length, 'partition')}, started <RelativeTime at={status.startedAt} />
            </>
          )
        }
      />
      {!status && (error ? <ProblemAlert error={error} /> : <Loading />)}
      {status && (
        <Stack gap="md">
          <Attention status={status} history={history} />
          <Health status={status} />
          <Charts history={history} />
          <Grid gap="md" align="stretch">
            <Grid.Col span={{ base: 12, md: 6 }}>
              <Sizes />
            </Grid.Col>
            <Grid.Col span={{ base: 12, md: 6 }}>
              <Feed />
            </Grid.Col>
          </Grid>
        </Stack>
      )}
    </>
  );
}

function Loading() {
  return (
    <Stack gap="md" aria-busy>
      <Skeleton height={44} radius="md" />
      <Skeleton height={92} radius="md" />
      <Skeleton height={420} radius="md" />
    </Stack>
  );
}
