import { Text } from '@mantine/core';
import { IconArrowDownRight, IconArrowUpRight, IconUsers } from '@tabler/icons-react';
import { useResultStream } from '../../api';
import { EmptyState, Moment, Panel, SegmentName, TextLink, UserLink } from '../../components';
import { isMade } from './events';
import classes from './generate.module.css';

const KINDS = ['entered', 'exited'] as const;
const SHOWN = 12;

/** Who of the users that are made enters or leaves something. */
export function Effect({ prefix }: { prefix: string }) {
  const { results } = useResultStream({ keep: 500, kinds: KINDS, every: 500 });
  const own = results.filter((r) => isMade(r.userId, prefix)).slice(0, SHOWN);
  return (
    <Panel
      title="What comes of it"
      description={
        <>
          Users with this prefix who enter or leave a segment, as it happens. All of them are on the{' '}
          <TextLink to="/" inherit underline="always">
            dashboard
          </TextLink>
          .
        </>
      }
      flush
    >
      {own.length === 0 ? (
        <EmptyState icon={IconUsers} title="Nobody entered or left yet" text="Some segments are only decided when their window closes." />
      ) : (
        <ul className={classes.effects} aria-label="Entered and left, newest first">
          {own.map((r) => {
            const into = r.event === 'entered';
            const Icon = into ? IconArrowUpRight : IconArrowDownRight;
            return (
              <li key={r.key}>
                <Icon size={16} style={{ color: into ? 'var(--app-entered)' : 'var(--app-exited)', flex: 'none' }} aria-hidden />
                <Text size="sm" component="span" style={{ flex: 1, minWidth: 0 }} truncate>
                  <UserLink id={r.userId} /> {into ? 'entered' : 'left'} <SegmentName name={r.segmentId} fw={500} />
                </Text>
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
