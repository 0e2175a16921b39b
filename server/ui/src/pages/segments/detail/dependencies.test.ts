import { describe, expect, it } from 'vitest';
import { dependenciesOf, sharedSteps } from './dependencies';

const node = (id: string, kind: string, label: string, more: object = {}) => ({ id, kind, label, details: [], ...more });
const plan = {
  summary: '',
  nodes: [
    node('scan', 'scan', 'Scan: events'),
    node('f', 'filter', 'Filter: event_type = purchase'),
    node('w', 'window', 'Aggregate: by user_id', { segments: ['spenders', 'twice', 'both'] }),
    node('s0', 'segment', 'Segment: spenders', { segments: ['spenders', 'both'] }),
    node('s1', 'segment', 'Segment: two windows/5m'),
    node('s2', 'segment', 'Derived segment: two windows'),
    node('s3', 'segment', 'Derived segment: both'),
  ],
  edges: [
    ['scan', 'f'],
    ['f', 'w'],
    ['w', 's0'],
    ['w', 's1'],
    ['s1', 's2'],
    ['s0', 's3'],
    ['s2', 's3'],
  ].map(([from = '', to = '']) => ({ from, to })),
};
const about = () => ({ size: 2, derived: false });

describe('dependenciesOf', () => {
  const found = dependenciesOf('both', plan, ['reader'], about);
  const line = (from: string, to: string) => found.edges.some((e) => e.from === from && e.to === to);
  it('goes from streams to the segment and on to its readers', () => {
    expect(found.nodes.map((n) => n.id)).toEqual(['stream events', 'spenders', 'two windows', 'both', 'reader']);
    expect(line('stream events', 'spenders') && line('spenders', 'both') && line('two windows', 'both') && line('both', 'reader')).toBe(true);
    expect(found.reads.sort()).toEqual(['spenders', 'two windows']);
  });
  it('hides what belongs to a segment, and loops', () => {
    expect(line('stream events', 'two windows')).toBe(true);
    expect(found.edges).toHaveLength(5);
  });
  it('tells derived segments and the one of the page', () => {
    expect(found.nodes.map((n) => [n.kind, n.type])).toEqual([
      ['scan', 'Stream'],
      ['segment', 'Segment'],
      ['segment', 'Segment'],
      ['derived', 'This segment'],
      ['derived', 'Derived segment'],
    ]);
  });
  it('stands alone without a plan', () => {
    expect(dependenciesOf('paused', undefined, [], () => undefined)).toMatchObject({ nodes: [{ id: 'paused', badges: [] }], edges: [], reads: [] });
  });
});

describe('sharedSteps', () => {
  it('names those with whom a step is shared, but for readers', () => {
    expect(sharedSteps('spenders', plan)).toEqual([{ id: 'w', step: 'Aggregate: by user_id', with: ['twice'] }]);
    expect(sharedSteps('x', undefined)).toEqual([]);
  });
});
