import { IconTimeline } from '@tabler/icons-react';
import type { Membership, UserMove } from '../../api';
import { DataTable, EmptyState, Moved, Panel, SegmentName, ShortMoment, useNow, type Column } from '../../components';
import { formatDay, formatDuration, formatTicks, formatTime, formatValue, plural } from '../../lib/format';
import { changesOf, intervalsOf, spanOf, ticksOf, type Interval } from './intervals';
import classes from './users.module.css';

const DAY = 86_400_000;

type Numbered = UserMove & { place: number };

const columns: Column<Numbered>[] = [
  { id: 'time', header: 'Time', cell: (m) => <ShortMoment at={m.at} />, sort: (m) => m.at },
  { id: 'what', header: 'What', cell: (m) => <Moved event={m.event} /> },
  { id: 'segment', header: 'Segment', cell: (m) => <SegmentName name={m.segment} />, sort: (m) => m.segment },
  { id: 'value', header: 'Value', cell: (m) => formatValue(m.value), align: 'right', wide: true },
];

/** One segment's times of membership, as a sentence. */
const said = (list: readonly Interval[]) =>
  list.map((i) => `${i.from === null ? 'before what is kept' : formatTime(i.from)} to ${i.until === null ? 'now' : formatTime(i.until)}`).join('; ');

function Bars({ intervals }: { intervals: ReadonlyMap<string, readonly Interval[]> }) {
  const now = useNow();
  const span = spanOf(intervals.values(), now);
  const start = now - span;
  const percent = (at: number) => Math.max(0, Math.min(100, ((at - start) * 100) / span));
  const ticks = ticksOf(now, span);
  const labels = span > 2 * DAY ? ticks.map(formatDay) : formatTicks(ticks);
  return (
    <div className={classes.gantt}>
      {[...intervals].map(([segment, list]) => (
        <div key={segment} className={classes.lane}>
          <div className={classes.laneName}>
            <SegmentName name={segment} fw={500} />
          </div>
          <div className={classes.track} role="img" aria-label={`${segment}: ${said(list)}`}>
            {list.map((i) => {
              const [from, until] = [percent(i.from ?? start), percent(i.until ?? now)];
              const length = (i.until ?? now) - (i.from ?? start);
              return (
                <div
                  key={`${i.from ?? 'before'}`}
                  className={classes.interval}
                  data-open={i.until === null || undefined}
                  data-before={i.from === null || undefined}
                  style={{ left: `${from}%`, width: `${Math.max(0.4, until - from)}%` }}
                  title={`${i.from === null ? 'since before what is kept' : `from ${formatTime(i.from)}`} ${i.until === null ? 'until now' : `to ${formatTime(i.until)}`}, ${formatDuration(length)}`}
                />
              );
            })}
          </div>
        </div>
      ))}
      <div className={classes.axis} aria-hidden>
        {ticks.map((tick, i) => (
          <span key={tick} style={{ left: `${percent(tick)}%` }} data-minor={i % 2 === 1 || undefined}>
            {labels[i]}
          </span>
        ))}
        <span style={{ right: 0 }}>now</span>
      </div>
    </div>
  );
}

/** When the user entered and left. */
export function Timeline({ moves, memberships }: { moves: readonly UserMove[] | undefined; memberships: readonly Membership[] }) {
  const changes = moves && changesOf(moves);
  const intervals = intervalsOf(moves ?? [], memberships);
  const rows = changes?.map((move, place) => ({ ...move, place }));
  return (
    <Panel title="Timeline" description={changes && changes.length > 0 ? `${plural(changes.length, 'change')} that are kept, by event time.` : 'By event time.'} flush>
      {intervals.size === 0 && moves ? (
        <EmptyState icon={IconTimeline} title="Never in a segment" text="At least not as far back as results are kept. Entering and leaving is drawn here." />
      ) : (
        <>
          <Bars intervals={intervals} />
          <DataTable label="Entered and left" columns={columns} rows={rows} rowKey={(m) => m.place} initialSort={{ id: 'time', descending: true }} pageSize={8} />
        </>
      )}
    </Panel>
  );
}
