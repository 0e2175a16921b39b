// Series for charts from samples of counters and gauges.

export interface Timed {
  at: number;
  startedAt: number;
}

export type Counter<S> = (sample: S) => number;

/** Longer pauses between samples are gaps in the line. */
const GAP = 15_000;

/**
 * Gain a second between each sample and the one before it. `null` where there is none: at the start, after a gap, after
 * the service restarted, and when the counter fell.
 */
export function rateSeries<S extends Timed>(samples: readonly S[], counter: Counter<S>): (number | null)[] {
  return samples.map((sample, i) => {
    const before = samples[i - 1];
    if (!before || before.startedAt !== sample.startedAt || sample.at <= before.at || sample.at - before.at > GAP) return null;
    const gain = counter(sample) - counter(before);
    return gain < 0 ? null : (gain * 1000) / (sample.at - before.at);
  });
}

/** Mean of the last values that there are. */
export function recentMean(values: readonly (number | null)[], count = 3): number | null {
  const recent = values.filter((v): v is number => v !== null).slice(-count);
  return recent.length === 0 ? null : recent.reduce((a, b) => a + b, 0) / recent.length;
}

/** Each value as the mean of it and those before it, to calm a line. */
export function smooth(values: readonly (number | null)[], count = 3): (number | null)[] {
  return values.map((value, i) => {
    if (value === null) return null;
    const near = values.slice(Math.max(0, i - count + 1), i + 1).filter((v): v is number => v !== null);
    return near.reduce((a, b) => a + b, 0) / near.length;
  });
}
