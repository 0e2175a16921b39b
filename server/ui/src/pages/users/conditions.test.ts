import { describe, expect, it } from 'vitest';
import { barOf, distanceOf, emptyTerms, inWords, needed, ranked, roleOf, termsOf, type Term } from './conditions';

const window = (aggregates: Record<string, unknown>, more: { operator?: string; threshold?: number; qualifies?: boolean } = {}) => ({
  aggregates: Object.entries(aggregates).map(([aggregate, value]) => ({ aggregate, value: value as never })),
  qualifies: false,
  ...more,
});
const term = (change: Partial<Term>): Term => ({ aggregate: 'sum(value)', operator: '>', threshold: 500, value: 250, met: false, ...change });

describe('termsOf', () => {
  it('takes the threshold that the service tells', () => {
    expect(termsOf('abs(coalesce(sum(value), Float64(0)) - Float64(5000)) < 0.001', window({ 'coalesce(sum(value), 0)': 62.32 }, { operator: '=', threshold: 5000 }))).toEqual({
      all: true,
      terms: [{ aggregate: 'coalesce(sum(value), 0)', operator: '=', threshold: 5000, value: 62.32, met: false }],
    });
  });
  it('finds the terms of several rules', () => {
    const condition = 'coalesce(sum(value) FILTER (WHERE event_type = Utf8("purchase")), Float64(0)) > 5000 AND count(1) FILTER (WHERE event_type = Utf8("view")) <= 20';
    const found = termsOf(
      condition,
      window({ 'sum(value) FILTER (event_type = purchase)': 62, 'count(*) FILTER (event_type = view)': 9, 'coalesce(sum(value) FILTER (event_type = purchase), 0)': 62 }),
    );
    expect(found?.all).toBe(true);
    expect(found?.terms.map((t) => [t.value, t.operator, t.threshold, t.met])).toEqual([
      [62, '>', 5000, false],
      [9, '<=', 20, true],
    ]);
  });
  it('knows when one of several will do', () => {
    const found = termsOf('sum(value) > 10 OR count(1) >= 2', window({ 'sum(value)': 1, 'count(*)': 3 }));
    expect(found?.all).toBe(false);
    expect(found?.terms.map((t) => t.met)).toEqual([false, true]);
  });
  it('splits outside of parentheses and quotes only', () => {
    const filter = 'count(1) FILTER (WHERE a = 1 AND b = Utf8(" AND ")) >= 2';
    expect(termsOf(filter, window({ 'count(*) FILTER (a = 1 AND b =  AND )': 1 }))?.terms).toHaveLength(1);
  });
  it('leaves alone what is more than comparisons with numbers', () => {
    expect(termsOf('sum(value) > count(1)', window({ 'sum(value)': 1, 'count(*)': 3 }))).toBeNull();
    expect(termsOf('a > 1 AND (b > 2 OR c > 3)', window({ a: 1, b: 2, c: 3 }))).toBeNull();
    expect(termsOf('sum(value) > 1', window({}))).toBeNull();
  });
  it('keeps a value that is not there', () => {
    expect(termsOf('max(value) > 1', window({ 'max(value)': null }))?.terms[0]).toMatchObject({ value: null, met: false });
  });
});

describe('emptyTerms', () => {
  it('counts nothing for who has no events', () => {
    expect(emptyTerms('coalesce(sum(value), Float64(0)) > 500 AND max(value) < 3')?.terms.map((t) => [t.value, t.met])).toEqual([
      [0, false],
      [null, false],
    ]);
    expect(emptyTerms('abs(coalesce(sum(value), Float64(0)) - Float64(5)) < 0.001')?.terms[0]).toMatchObject({ operator: '=', threshold: 5, value: 0 });
    expect(emptyTerms('a > 1 AND (b > 2 OR c > 3)')).toBeNull();
  });
});

describe('words', () => {
  it('names aggregates', () => {
    expect(inWords('sum(value)')).toBe('sum of value');
    expect(inWords('count(1)')).toBe('number of events');
    expect(inWords('coalesce(sum(value) FILTER (event_type = purchase), 0)')).toBe('sum of value where event_type = purchase');
    expect(inWords("count(DISTINCT metadata['category'])")).toBe('number of different category');
    expect(inWords('max(event_time) - min(event_time)')).toBe('max(event_time) - min(event_time)');
  });
  it('says what it takes', () => {
    expect(needed({ operator: '>=', threshold: 8 })).toBe('at least 8');
  });
  it('says how far off it is', () => {
    expect(distanceOf(term({}))).toBe('250 short');
    expect(distanceOf(term({ aggregate: 'count(*)', threshold: 8, value: 3 }))).toBe('6 more needed');
    expect(distanceOf(term({ aggregate: 'count(*)', operator: '>=', threshold: 8, value: 3 }))).toBe('5 more needed');
    expect(distanceOf(term({ aggregate: 'count(*)', operator: '<=', threshold: 2, value: 5 }))).toBe('3 too many');
    expect(distanceOf(term({ aggregate: 'count(*)', operator: '<', threshold: 2, value: 2 }))).toBe('1 too many');
    expect(distanceOf(term({ value: 656.91, met: true }))).toBe('156.91 over');
    expect(distanceOf(term({ operator: '<', value: 100, met: true }))).toBe('400 below');
    expect(distanceOf(term({ operator: '=', value: 499 }))).toBe('1 short');
    expect(distanceOf(term({ value: null }))).toBe('no value yet');
  });
});

describe('barOf', () => {
  it('keeps the threshold in view on either side', () => {
    const under = barOf({ value: 250, threshold: 500 });
    expect(under.value).toBeCloseTo(under.threshold / 2);
    expect(under.threshold).toBeLessThan(1);
    const over = barOf({ value: 1_000_000, threshold: 500 });
    expect(over.value).toBe(1);
    expect(over.threshold).toBeGreaterThan(0.2);
  });
  it('does with zero and less', () => {
    expect(barOf({ value: 0, threshold: 0 })).toEqual({ value: 0, threshold: 0 });
    const below = barOf({ value: -5, threshold: 5 });
    expect(below.value).toBe(0);
    expect(below.threshold).toBeGreaterThan(0.5);
  });
});

describe('ranked', () => {
  const w = (windowEnd: number, qualifies: boolean, distance: number) => ({ windowStart: windowEnd - 10, windowEnd, qualifies, distance });
  it('shows members the newest window that qualifies', () => {
    expect(ranked([w(10, true, 1), w(20, true, 9), w(30, false, 1)], true).map((x) => x.windowEnd)).toEqual([20, 10, 30]);
  });
  it('shows others the window that is nearest', () => {
    expect(ranked([w(10, false, 5), w(20, false, 2), w(30, false, 5)], false).map((x) => x.windowEnd)).toEqual([20, 30, 10]);
  });
});

describe('roleOf', () => {
  it('finds what an input must be', () => {
    expect(roleOf('a AND NOT b', 'b')).toBe('out');
    expect(roleOf('a AND NOT b', 'a')).toBe('in');
    expect(roleOf('a OR b', 'a')).toBe('either');
    expect(roleOf('a AND NOT b_2', 'b')).toBe('in');
    expect(roleOf('"Big & busy" AND NOT "old (1)"', 'old (1)')).toBe('out');
  });
});
