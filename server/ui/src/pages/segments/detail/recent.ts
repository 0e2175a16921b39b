// The newest changes of a segment: those that are kept, and those that come while one looks.
import { useRecentChanges, type ResultStream, type SegmentResult } from '../../../api';
import { Changes } from '../../../lib/changes';

const KEPT = 80;

export type Change = SegmentResult & { key: string };

/** Each change once, in the order that they were told in, given and returned newest first; those that came twice count once. */
export function changed(results: readonly SegmentResult[]): Change[] {
  const [changes, seen] = [new Changes(), new Set<string>()];
  return [...results]
    .reverse()
    .map((r) => ({ ...r, key: `${r.userId} ${r.event} ${r.timestamp} ${r.windowStart}` }))
    .filter((r) => !seen.has(r.key) && seen.add(r.key) && changes.take(r))
    .reverse();
}

/** `undefined` while they are loaded. */
export function useChanges(segment: string, { results, state }: ResultStream): Change[] | undefined {
  const { data } = useRecentChanges(segment, KEPT, state === 'open');
  return data && changed([...results, ...data]).slice(0, KEPT);
}
