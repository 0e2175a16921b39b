import { Alert, Group, Skeleton, Stack } from '@mantine/core';
import { IconInfoCircle } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { keys, useAllSegments, useResultStream, useUserEvents, useUserSegments, useUserTimeline } from '../../api';
import { CopyButton, GenerateLink, PageHeader, ProblemAlert, RelativeTime } from '../../components';
import { plural } from '../../lib/format';
import { Memberships } from './Memberships';
import { RecentEvents } from './RecentEvents';
import { Timeline } from './Timeline';
import { UserSearch } from './UserSearch';
import { WhyBrowser } from './WhyBrowser';

/** All that is known of a user, live. */
export function UserDetail({ userId }: { userId: string }) {
  const queries = useQueryClient();
  const { data: user, error } = useUserSegments(userId);
  const { data: segments } = useAllSegments();
  const { data: moves } = useUserTimeline(userId);
  const { data: events } = useUserEvents(userId);
  useResultStream({
    user: userId,
    keep: 0,
    every: 500,
    onResults: () => void queries.invalidateQueries({ queryKey: [...keys.users, userId] }),
  });
  const active = segments?.filter((s) => s.active).length;
  const unknown = user?.lastUpdated == null && user?.segments.length === 0 && moves?.length === 0 && events?.length === 0;

  return (
    <>
      <PageHeader
        title={`User ${userId}`}
        heading={
          <Group gap={6} component="span">
            <span className="mono">{userId}</span>
            <CopyButton value={userId} what="the user id" />
          </Group>
        }
        description={
          user && (
            <>
              {active === undefined ? `In ${plural(user.segments.length, 'segment')}` : `In ${user.segments.length} of ${plural(active, 'running segment')}`}
              {user.lastUpdated != null && (
                <>
                  , last written <RelativeTime at={user.lastUpdated} />
                </>
              )}
            </>
          )
        }
        actions={<UserSearch />}
      />
      {!user && (error ? <ProblemAlert error={error} onRetry={() => void queries.invalidateQueries({ queryKey: [...keys.users, userId] })} /> : <Loading />)}
      {user && (
        <Stack gap="md">
          {unknown && <Unknown userId={userId} />}
          {!unknown && <Memberships userId={userId} memberships={user.segments} />}
          {segments && <WhyBrowser userId={userId} segments={segments} memberships={user.segments} />}
          {!unknown && (
            <>
              <Timeline moves={moves} memberships={user.segments} />
              <RecentEvents events={events} />
            </>
          )}
        </Stack>
      )}
    </>
  );
}

function Unknown({ userId }: { userId: string }) {
  return (
    <Alert color="gray" icon={<IconInfoCircle size={18} />} title={`Nothing is known of ${userId}`} radius="md" role="status">
      No event of this user is kept, and they are in no segment. Ids are case-sensitive. Below is what it would take for each segment.
      <div style={{ marginTop: 8 }}>
        <GenerateLink />
      </div>
    </Alert>
  );
}

function Loading() {
  return (
    <Stack gap="md" aria-busy>
      <Skeleton height={180} radius="md" />
      <Skeleton height={340} radius="md" />
      <Skeleton height={240} radius="md" />
    </Stack>
  );
}
