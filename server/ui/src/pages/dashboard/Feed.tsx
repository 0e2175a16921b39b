import { ActionIcon, Group, Text, Tooltip } from '@mantine/core';
import { IconArrowDownRight, IconArrowUpRight, IconPlayerPause, IconPlayerPlay, IconUsers } from '@tabler/icons-react';
import { useState } from 'react';
import { useResultStream } from '../../api';
import { EmptyState, Moment, Panel, SegmentName, StatusDot, UserLink } from '../../components';
import { formatCompact, formatNumber } from '../../lib/format';
import classes from './dashboard.module.css';

const KINDS = ['entered', 'exited'] as const;

/** Who enters and leaves, as it happens. */
export function Feed() {
  const [paused, setPaused] = useState(false);
  const { results, state, entered, exited } = useResultStream({ keep: 60, kinds: KINDS, paused, every: 1_000 });
  const label = paused ? 'Go on' : 'Hold';
  return (
    <Panel
      title="Entered and exited"
      description={
        <Group gap={8} wrap="nowrap">
          <StatusDot tone={state === 'open' ? 'good' : state === 'paused' ? 'idle' : 'warn'} size={7} />
          <span className="num">
            {state === 'connecting' ? 'Connecting' : state === 'paused' ? 'Held' : `${formatCompact(entered)} entered, ${formatCompact(exited)} exited since you came`}
          </span>
        </Group>
      }
      actions={
        <Tooltip label={label}>
          <ActionIcon
            aria-label={label}
            onClick={() => {
              setPaused(!paused);
            }}
          >
            {paused ? <IconPlayerPlay size={17} /> : <IconPlayerPause size={17} />}
          </ActionIcon>
        </Tooltip>
      }
      flush
      style={{ height: '100%' }}
    >
      {results.length === 0 ? (
        <EmptyState icon={IconUsers} title="Nobody entered or left yet" text="It is shown here the moment that it happens." />
      ) : (
        <ul className={classes.feed} tabIndex={0} aria-label="Newest first">
          {results.map((r) => {
            const into = r.event === 'entered';
            const Icon = into ? IconArrowUpRight : IconArrowDownRight;
            return (
              <li key={r.key}>
                <Icon size={16} style={{ color: into ? 'var(--app-entered)' : 'var(--app-exited)', flex: 'none' }} role="img" aria-label={r.event} />
                <Text size="sm" component="span" style={{ flex: 1, minWidth: 0 }} truncate>
                  <UserLink id={r.userId} /> {into ? 'entered' : 'left'} <SegmentName name={r.segmentId} fw={500} />
                </Text>
                {r.value != null && (
                  <Text size="sm" c="dimmed" component="span" className="num" visibleFrom="xs">
                    {formatNumber(r.value)}
                  </Text>
                )}
                <Text size="sm" c="dimmed" component="span">
                  <Moment at={r.received} short />
                </Text>
              </li>
            );
          })}
        </ul>
      )}
    </Panel>
  );
}
