import { describe, expect, it } from 'vitest';
import { effortOf, factsOf, linksOf, reach, summaryOf, usersOf } from './program';

const node = (id: string, kind: string, details: string[] = []) => ({ id, kind, label: `${kind}: ${id}`, details });

describe('links', () => {
  const links = linksOf({
    summary: '',
    nodes: [node('scan', 'scan'), node('f', 'filter'), node('w', 'window'), node('a', 'segment'), node('b', 'segment'), node('d', 'segment')],
    edges: [
      { from: 'scan', to: 'f' },
      { from: 'f', to: 'w' },
      { from: 'w', to: 'a' },
      { from: 'w', to: 'b' },
      { from: 'a', to: 'd' },
    ],
  });
  it('finds which segments use a node, also through others', () => {
    expect(usersOf(links, 'w')).toEqual(['a', 'b', 'd']);
    expect(usersOf(links, 'a')).toEqual(['a', 'd']);
  });
  it('finds the way to a segment', () => {
    expect([...reach(links.reads, 'd')]).toEqual(['d', 'a', 'w', 'f', 'scan']);
  });
});

describe('factsOf', () => {
  it('takes slots apart at commas outside of brackets', () => {
    const { slots } = factsOf(node('w', 'window', ['slots: count(*) FILTER (event_type IN (view, purchase)), sum(value)', 'shared by 2 segments']));
    expect(slots).toEqual(['count(*) FILTER (event_type IN (view, purchase))', 'sum(value)']);
  });
  it('knows conditions, how they are decided, and when there are results', () => {
    const facts = factsOf(node('s', 'segment', ['having (threshold index): max(x) > Utf8("a")', 'emit FINAL: only then: known']));
    expect(facts.condition).toEqual({ how: 'threshold index', text: "max(x) > 'a'" });
    expect(facts.emit).toEqual({ when: 'FINAL', why: 'only then: known' });
  });
});

describe('effortOf', () => {
  const now = { ...node('w', 'window'), measured: { rows: 300, nanos: 6_000_000 } };
  it('tells what it does now from what it did so far', () => {
    const before = { at: 0, graph: { summary: '', nodes: [{ ...now, measured: { rows: 100, nanos: 4_000_000 } }], edges: [] } };
    expect(effortOf(now, 2_000, before)).toEqual({ rows: 300, nanos: 6_000_000, rowRate: 100, load: 0.001, perRow: 10_000 });
  });
  it('does not invent rates', () => {
    expect(effortOf(now, 2_000)).toMatchObject({ rowRate: null, load: null, perRow: 20_000 });
    expect(effortOf(node('x', 'filter'), 0)).toBeNull();
  });
});

it('reads the summary', () => {
  expect(summaryOf('1,000 segments → 1 scan, 3 other conditions; rows and times of 1 of 2 partitions, as the others are busy')).toEqual({
    counts: [
      [1000, 'segments'],
      [1, 'scan'],
      [3, 'other conditions'],
    ],
    note: 'rows and times of 1 of 2 partitions, as the others are busy',
  });
});
