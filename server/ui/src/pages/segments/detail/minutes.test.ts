import { describe, expect, it } from 'vitest';
import { minuteSeries } from './minutes';

const M = 60_000;
const now = 100 * M + 30_000;

describe('minuteSeries', () => {
  const minutes = [
    { minute: 90 * M, entered: 4, exited: 0, size: 4 },
    { minute: 98 * M, entered: 1, exited: 2, size: 3 },
  ];
  it('keeps the size over minutes in which nothing happened', () => {
    const series = minuteSeries(minutes, 4 * M, now, 5, 0);
    expect(series.times).toEqual([96, 97, 98, 99, 100].map((m) => m * M));
    expect(series.size).toEqual([4, 4, 3, 3, 5]);
    expect(series.entered).toEqual([0, 0, 1, 0, 0]);
    expect(series.exited.map(Math.abs as (v: number | null) => number)).toEqual([0, 0, 2, 0, 0]);
    expect(series.exited[2]).toBe(-2);
  });
  it('has nothing before the segment was there', () => {
    expect(minuteSeries(minutes, 12 * M, now, 3, 90 * M + 5_000).size.slice(0, 4)).toEqual([null, null, 4, 4]);
  });
  it('adds up in longer steps', () => {
    const series = minuteSeries(minutes, 20 * M, now, 3, 0, 10 * M);
    expect(series.entered).toEqual([0, 5, 0]);
    expect(series.size).toEqual([0, 3, 3]);
  });
});
