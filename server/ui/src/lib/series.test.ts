import { describe, expect, it } from 'vitest';
import { rateSeries, recentMean, smooth } from './series';

const sample = (at: number, n: number, startedAt = 0) => ({ at, n, startedAt });

describe('rateSeries', () => {
  it('is the gain a second', () => {
    expect(rateSeries([sample(0, 10), sample(2_000, 30), sample(4_000, 30)], (s) => s.n)).toEqual([null, 10, 0]);
  });
  it('has gaps after restarts, falls and pauses', () => {
    const samples = [sample(0, 100), sample(1_000, 5, 900), sample(2_000, 4, 900), sample(60_000, 50, 900)];
    expect(rateSeries(samples, (s) => s.n)).toEqual([null, null, null, null]);
  });
});

describe('means', () => {
  it('pass over what is not known', () => {
    expect(recentMean([1, null, 3, null])).toBe(2);
    expect(recentMean([null])).toBeNull();
    expect(smooth([2, null, 4, 6], 2)).toEqual([2, null, 4, 5]);
  });
});
