// The newest changes of a segment: those that are kept, and those that come while one looks.
import { useRecentChanges, type SegmentResult, type StreamedResult } from '../../../api';
import { Changes } from '../../../lib/changes';

const KEPT = 80;

export type Change = SegmentResult & { key: string };

/** Each change once, newest first. */
export function changed(results: readonly SegmentResult[]): Change[] {
  const changes = new Changes();
  return [...results]
    .sort((a, b) => a.timestamp - b.timestamp)
    .filter((r) => changes.take(r))
    .map((r) => ({ ...r, key: `${r.userId} ${r.event} ${r.timestamp}` }))
    .reverse();
}

export function useChanges(segment: string, live: readonly StreamedResult[]): Change[] {
  const { data = [] } = useRecentChanges(segment, KEPT);
  return changed([...data, ...live]).slice(0, KEPT);
}
