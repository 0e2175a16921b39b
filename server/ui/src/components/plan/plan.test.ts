import { describe, expect, it } from 'vitest';
import { planOf, readsOf } from './plan';

const graph = (rows: number) => ({
  summary: '',
  nodes: [
    { id: 'scan', kind: 'scan', label: 'Scan: events', details: ['columns: user_id'], measured: { rows, nanos: 3_000_000 } },
    { id: 'window0', kind: 'window', label: 'Aggregate: by user_id', details: ['slots: count(*)', 'shared by 3 segments'], measured: { rows, nanos: 1_000_000 } },
    { id: 'segment0', kind: 'segment', label: 'Derived segment: both', details: ['condition (same user: current membership): a AND b', 'emit FINAL: only known then'] },
  ],
  edges: [
    { from: 'scan', to: 'window0' },
    { from: 'window0', to: 'segment0' },
  ],
});

describe('planOf', () => {
  it('takes names apart and says what is shared', () => {
    const { nodes } = planOf({ graph: graph(100), at: 0 });
    expect(nodes.map((n) => [n.type, n.title])).toEqual([
      ['Scan', 'events'],
      ['Aggregate', 'by user_id'],
      ['Derived segment', 'both'],
    ]);
    expect(nodes[1]?.badges?.map((b) => b.label)).toEqual(['shared by 3', '100 rows', '1 ms']);
    expect(nodes[2]?.details).toEqual(['a AND b']);
    expect(nodes[2]?.badges).toEqual([{ label: 'at the close', color: 'orange', title: 'EMIT FINAL: only known then' }]);
    expect(nodes[0]?.share).toBe(0.75);
  });
  it('knows rows a second from an earlier look', () => {
    const { nodes } = planOf({ graph: graph(300), at: 2_000 }, { graph: graph(100), at: 0 });
    expect(nodes[0]?.badges?.[0]?.label).toBe('100/s');
  });
  it('says rows so far after a restart', () => {
    const { nodes } = planOf({ graph: graph(10), at: 2_000 }, { graph: graph(100), at: 0 });
    expect(nodes[0]?.badges?.[0]?.label).toBe('10 rows');
  });
});

it('finds all that a node reads', () => {
  expect([...readsOf(graph(1).edges, 'segment0')].sort()).toEqual(['scan', 'segment0', 'window0']);
});
