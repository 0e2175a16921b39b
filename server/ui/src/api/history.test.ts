import { describe, expect, it } from 'vitest';
import { rates, withHistory, type Sample } from './history';
import type { HistoryPoint } from './types';

const S = 1_000;
const START = 1_800_000_000_000;
const live = (second: number, startedAt = START): Sample => ({ at: START + second * S, startedAt, events: second * 10, results: 0, deadLetters: 0, lag: 0, watermarkDelay: 3 * S, members: 1 });
const told = (second: number): HistoryPoint => ({ at: START + second * S, events: second * 10, results: 0, deadLetters: 0, lag: 0, watermarkDelayMs: 3 * S, members: 1 });
const seconds = (samples: readonly Sample[]) => samples.map((s) => (s.at - START) / S);

describe('withHistory', () => {
  it('puts what was before the page in front, and nothing twice', () => {
    const all = withHistory([live(21), live(23), live(25)], [5, 10, 15, 20, 25].map(told));
    expect(seconds(all)).toEqual([5, 10, 15, 21, 23, 25]);
    expect(rates(all, (s) => s.events)).toEqual([null, 10, 10, 10, 10, 10]);
    expect(all[0]).toEqual(live(5));
  });
  it('fills in a time in which nobody looked', () => {
    expect(seconds(withHistory([live(1), live(3), live(30), live(32)], [0, 5, 10, 15, 20, 25, 30].map(told)))).toEqual([1, 3, 10, 15, 20, 25, 30, 32]);
  });
  it('has nothing older than a quarter of an hour, and nothing without a sample', () => {
    expect(seconds(withHistory([live(2_000)], [1_000, 1_200].map(told)))).toEqual([1_200, 2_000]);
    expect(withHistory([], [told(5)])).toEqual([]);
  });
  it('takes what was before a restart for another run', () => {
    const restarted = { ...live(42, START + 40 * S), events: 5 };
    const all = withHistory([live(30), restarted], [told(35)]);
    expect(all.map((s) => s.startedAt - START)).toEqual([0, 0, 40 * S]);
    expect(rates(all, (s) => s.events)).toEqual([null, 10, null]);
  });
});
