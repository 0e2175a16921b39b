import { describe, expect, it } from 'vitest';
import { changesOf, intervalsOf, spanOf, ticksOf, type Move } from './intervals';

const move = (at: number, event: Move['event'], segment = 'a'): Move => ({ at, event, segment, value: null });

describe('changesOf', () => {
  it('leaves out repetitions, newest first', () => {
    expect(changesOf([move(3, 'exited'), move(2, 'entered'), move(1, 'entered'), move(2, 'entered', 'b')]).map((m) => [m.segment, m.at])).toEqual([
      ['a', 3],
      ['b', 2],
      ['a', 1],
    ]);
  });
});

describe('intervalsOf', () => {
  it('pairs entering with leaving', () => {
    const found = intervalsOf([move(1, 'entered'), move(5, 'exited'), move(7, 'entered')], [{ segment: 'a', since: 7 }]);
    expect(found.get('a')).toEqual([
      { segment: 'a', from: 1, until: 5 },
      { segment: 'a', from: 7, until: null },
    ]);
  });
  it('does not know when it began before what is kept', () => {
    expect(intervalsOf([move(5, 'exited')], []).get('a')).toEqual([{ segment: 'a', from: null, until: 5 }]);
  });
  it('knows memberships of which no result is kept', () => {
    expect(intervalsOf([], [{ segment: 'z', since: 9 }]).get('z')).toEqual([{ segment: 'z', from: 9, until: null }]);
  });
  it('ends what no longer holds', () => {
    expect(intervalsOf([move(4, 'entered')], []).get('a')).toEqual([{ segment: 'a', from: 4, until: 4 }]);
  });
  it('has what lasts first, then the newest', () => {
    const moves = [move(1, 'entered', 'old'), move(2, 'exited', 'old'), move(3, 'entered', 'new'), move(4, 'exited', 'new')];
    expect([...intervalsOf(moves, [{ segment: 'now', since: 1 }]).keys()]).toEqual(['now', 'new', 'old']);
  });
});

describe('spanOf', () => {
  it('holds all, rounded up', () => {
    const now = 10_000_000;
    expect(spanOf([[{ segment: 'a', from: now - 200_000, until: null }]], now)).toBe(300_000);
    expect(spanOf([], now)).toBe(60_000);
  });
});

describe('ticksOf', () => {
  it('has whole steps, none where "now" stands', () => {
    expect(ticksOf(900_000 + 20_000, 900_000)).toEqual([300_000, 600_000]);
    expect(ticksOf(62_000, 60_000)).toEqual([30_000]);
  });
});
