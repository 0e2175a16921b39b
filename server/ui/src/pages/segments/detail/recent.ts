// The newest changes of a segment: those that are kept, and those that come while one looks.
import { useQuery } from '@tanstack/react-query';
import { keys, literal, select, type StreamedResult } from '../../../api';
import { Changes } from '../../../lib/changes';

export interface Move {
  key: string;
  userId: string;
  event: string;
  value: number | null;
  /** Event time, ms. */
  at: number;
}

const KEPT = 80;

interface Row {
  user_id: string;
  event: string;
  value: number | null;
  timestamp: string;
}

/** Those of before, newest first, without repetitions. */
export function changed(moves: readonly Omit<Move, 'key'>[]): Move[] {
  const changes = new Changes();
  return [...moves]
    .sort((a, b) => a.at - b.at)
    .filter((m) => changes.take({ userId: m.userId, segmentId: '', event: m.event }))
    .map((m) => ({ ...m, key: `${m.userId} ${m.event} ${m.at}` }))
    .reverse();
}

export function useRecentMoves(segment: string, live: readonly StreamedResult[]): Move[] {
  const { data = [] } = useQuery({
    queryKey: [...keys.segments, 'moves', segment],
    queryFn: ({ signal }) =>
      select<Row>(
        `SELECT user_id, event, value, "timestamp" FROM results WHERE segment = ${literal(segment)} AND event IN ('entered', 'exited') ORDER BY "timestamp" DESC LIMIT ${KEPT}`,
        signal,
      ),
    staleTime: Infinity,
    gcTime: 0,
  });
  const before = data.map((r) => ({ userId: r.user_id, event: r.event, value: r.value, at: Date.parse(r.timestamp) }));
  const now = live.map((r) => ({ userId: r.userId, event: r.event, value: r.value ?? null, at: r.timestamp }));
  return changed([...before, ...now]).slice(0, KEPT);
}
