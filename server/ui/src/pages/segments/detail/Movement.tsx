import { Group, Skeleton, Text } from '@mantine/core';
import { IconArrowDownRight, IconArrowUpRight, IconUsers } from '@tabler/icons-react';
import type { ResultStream, Segment } from '../../../api';
import { EmptyState, LinkButton, Moment, Panel, StatusDot, UserLink } from '../../../components';
import { formatCompact, formatNumber } from '../../../lib/format';
import { useChanges } from './recent';
import classes from './detail.module.css';

/** Who entered and left, as it happens. */
export function Movement({ segment, stream }: { segment: Segment; stream: ResultStream }) {
  const moves = useChanges(segment.name, stream);
  const { state, entered, exited } = stream;
  return (
    <Panel
      title="Entered and left"
      description={
        <Group gap={8} wrap="nowrap">
          <StatusDot tone={state === 'open' ? 'good' : 'warn'} size={7} />
          <span className="num">{state === 'open' ? `live, ${formatCompact(entered)} entered and ${formatCompact(exited)} left since you came` : 'Connecting'}</span>
        </Group>
      }
      flush
    >
      {moves === undefined && <Skeleton height={180} mx="md" mb="md" />}
      {moves?.length === 0 && (
        <EmptyState
          icon={IconUsers}
          title="Nobody entered or left yet"
          text={segment.active ? 'It is shown here the moment that it happens.' : 'Resume the segment to let events bring users in.'}
          action={
            segment.active && (
              <LinkButton to="/events/generate" variant="default" size="xs">
                Generate events
              </LinkButton>
            )
          }
        />
      )}
      {moves !== undefined && moves.length > 0 && (
        <ul className={classes.feed} tabIndex={0} aria-label="Newest first">
          {moves.map((move) => {
            const into = move.event === 'entered';
            const Icon = into ? IconArrowUpRight : IconArrowDownRight;
            return (
              <li key={move.key}>
                <Icon size={16} style={{ color: into ? 'var(--app-entered)' : 'var(--app-exited)', flex: 'none' }} role="img" aria-label={into ? 'entered' : 'left'} />
                <span style={{ flex: 1, minWidth: 0 }}>
                  <UserLink id={move.userId} />
                </span>
                {move.value != null && (
                  <Text size="sm" component="span" className="num">
                    {formatNumber(move.value)}
                  </Text>
                )}
                <Text size="sm" c="dimmed" component="span">
                  <Moment at={move.timestamp} short />
                </Text>
              </li>
            );
          })}
        </ul>
      )}
    </Panel>
  );
}
