// Users who enter and leave segments.
import { Group, Skeleton } from '@mantine/core';
import { IconArrowDownRight, IconArrowUpRight } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { ResultStream, StreamedResult } from '../api';
import { formatCompact, formatValue } from '../lib/format';
import { SegmentName, UserLink } from './links';
import classes from './moves.module.css';
import { StatusDot } from './StatusDot';
import { ShortMoment } from './time';

const LOOKS = {
  entered: { icon: IconArrowUpRight, color: 'var(--app-entered)', word: 'entered' },
  left: { icon: IconArrowDownRight, color: 'var(--app-exited)', word: 'left' },
};
const lookOf = (event: string) => LOOKS[event === 'entered' ? 'entered' : 'left'];

/** What a user did, in a word. */
export function Moved({ event }: { event: string }) {
  const { icon: Icon, color, word } = lookOf(event);
  return (
    <span className={classes.moved} style={{ color }}>
      <Icon size={15} aria-hidden /> {word}
    </span>
  );
}

interface MovesProps {
  label?: string;
  /** Newest first; `undefined` while they are loaded. */
  moves: readonly StreamedResult[] | undefined;
  /** Whether all are of one segment, which goes without saying. */
  ofOne?: boolean;
  /** Whether they take the height that their place has, and scroll. */
  fill?: boolean;
  /** Shown when there are none: an `EmptyState`. */
  empty: ReactNode;
}

/** Who entered and left, with the value that decided it, and when. */
export function Moves({ label = 'Newest first', moves, ofOne = false, fill = false, empty }: MovesProps) {
  if (!moves) return <Skeleton height={180} mx="md" mb="md" w="auto" />;
  if (moves.length === 0) return empty;
  const list = (
    <ul className={classes.moves} aria-label={label} {...(fill ? { tabIndex: 0 } : {})}>
      {moves.map((move) => {
        const { icon: Icon, color, word } = lookOf(move.event);
        return (
          <li key={move.key}>
            <Icon size={16} style={{ color }} role="img" aria-label={ofOne ? word : undefined} aria-hidden={!ofOne} />
            <span className={classes.who}>
              <UserLink id={move.userId} />
              {!ofOne && (
                <>
                  <span className={classes.word}>{` ${word}`}</span>{' '}
                  <SegmentName name={move.segmentId} fw={500} />
                </>
              )}
            </span>
            {move.value != null && <span className={`num ${ofOne ? '' : (classes.value ?? '')}`}>{formatValue(move.value)}</span>}
            <span className={classes.dim}>
              <ShortMoment at={move.timestamp} />
            </span>
          </li>
        );
      })}
    </ul>
  );
  return fill ? <div className={classes.fill}>{list}</div> : list;
}

/** Whether a stream of changes is live, and how many there were. */
export function StreamLine({ stream: { state, entered, exited } }: { stream: ResultStream }) {
  const text = { connecting: 'Connecting', paused: 'Held', open: `live, ${formatCompact(entered)} entered and ${formatCompact(exited)} left since you came` };
  return (
    <Group gap={8} wrap="nowrap">
      <StatusDot tone={({ connecting: 'warn', paused: 'idle', open: 'good' } as const)[state]} size={7} />
      <span className="num">{text[state]}</span>
    </Group>
  );
}
