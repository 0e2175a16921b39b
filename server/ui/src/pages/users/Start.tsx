import { Card, Stack, Text } from '@mantine/core';
import { useHover } from '@mantine/hooks';
import { IconUsers } from '@tabler/icons-react';
import { CHANGES, useResultStream } from '../../api';
import { EmptyState, GenerateLink, Moves, PageHeader, Panel } from '../../components';
import { UserSearch } from './UserSearch';

const SHOWN = 12;

/** The page before a user is chosen: a search, and users of whom there is news. */
export function Start() {
  // Nothing moves away from under the pointer.
  const { hovered, ref } = useHover<HTMLDivElement>();
  const { results, loaded } = useResultStream({ keep: 100, before: 100, kinds: CHANGES, every: 2_000, paused: hovered });
  const seen = new Set<string>();
  const newest = results.filter((r) => !seen.has(r.userId) && seen.add(r.userId)).slice(0, SHOWN);
  return (
    <>
      <PageHeader title="Users" description="What a user is in, and why." />
      <Stack gap="md">
        <Card>
          <UserSearch large />
          <Text size="sm" c="dimmed" mt={8}>
            Ids of users who are in a segment are completed. Any other id can be looked up too.
          </Text>
        </Card>
        <div ref={ref}>
          <Panel title="Entered or left just now" description={hovered ? 'Held while you point at it.' : 'As it happens.'} flush>
            <Moves
              label="Users with news"
              moves={loaded ? newest : undefined}
              empty={
                <EmptyState
                  icon={IconUsers}
                  title="Nobody entered or left yet"
                  text="Users are listed here as soon as events bring them into a segment, or time takes them out."
                  action={<GenerateLink />}
                />
              }
            />
          </Panel>
        </div>
      </Stack>
    </>
  );
}
