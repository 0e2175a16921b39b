// Size and movement of a segment as series for charts: the service tells minutes in which anything happened.
import type { Minute } from '../../../api';

const MINUTE = 60_000;

export interface MinuteSeries {
  times: number[];
  size: (number | null)[];
  entered: (number | null)[];
  /** Below zero, so that it is drawn below the line. */
  exited: (number | null)[];
}

/** A point for each `step` minutes up to now; those before the segment was there have no size. */
export function minuteSeries(minutes: readonly Minute[], span: number, now: number, size: number, since: number, step = MINUTE): MinuteSeries {
  const series: MinuteSeries = { times: [], size: [], entered: [], exited: [] };
  const last = now - (now % step);
  const first = last - span;
  const begun = since - (since % step);
  const sorted = [...minutes].sort((a, b) => a.minute - b.minute);
  let [i, known] = [0, 0];
  for (; (sorted[i]?.minute ?? Infinity) < first; i++) known = sorted[i]?.size ?? known;
  for (let time = first; time <= last; time += step) {
    let [entered, exited] = [0, 0];
    for (; (sorted[i]?.minute ?? Infinity) < time + step; i++) {
      entered += sorted[i]?.entered ?? 0;
      exited += sorted[i]?.exited ?? 0;
      known = sorted[i]?.size ?? known;
    }
    const there = time >= begun;
    series.times.push(time);
    series.size.push(there ? (time === last ? size : known) : null);
    series.entered.push(there ? entered : null);
    series.exited.push(there ? -exited : null);
  }
  return series;
}
