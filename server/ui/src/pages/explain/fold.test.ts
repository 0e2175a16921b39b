import { describe, expect, it } from 'vitest';
import type { PlanGraphData, PlanGraphNode } from '../../api';
import { contract, fold, LIMITS } from './fold';

const node = (id: string, kind: string, label: string): PlanGraphNode => ({ id, kind, label, details: [] });

/** `filters` filters with an aggregate each, and on each `each` segments; every tenth of them is read by a derived one. */
function program(filters: number, each: number): PlanGraphData {
  const graph: PlanGraphData = { summary: '', nodes: [node('scan', 'scan', 'Scan: events')], edges: [] };
  const derived: number[] = [];
  for (let f = 0; f < filters; f++) {
    graph.nodes.push(node(`filter${f}`, 'filter', `Filter: f${f}`), { ...node(`window${f}`, 'window', `Aggregate: w${f}`), measured: { rows: 2, nanos: 10 } });
    graph.edges.push({ from: 'scan', to: `filter${f}` }, { from: `filter${f}`, to: `window${f}` });
  }
  for (let s = 0; s < filters * each; s++) {
    graph.nodes.push(node(`segment${s}`, 'segment', `Segment: s${s}`));
    graph.edges.push({ from: `window${s % filters}`, to: `segment${s}` });
    if (s % 10 === 9) derived.push(s);
  }
  derived.forEach((s, i) => {
    const id = `segment${filters * each + i}`;
    graph.nodes.push(node(id, 'segment', `Derived segment: d${i}`));
    graph.edges.push({ from: `segment${s}`, to: id }, { from: `segment${s - 1}`, to: id });
  });
  return graph;
}

const none: ReadonlySet<string> = new Set();

describe('fold', () => {
  it('leaves small programs as they are', () => {
    const graph = program(3, 2);
    expect(contract(graph, fold(graph, none))).toEqual(graph);
  });

  it('puts segments together that read the same', () => {
    const graph = program(2, 4);
    graph.edges = graph.edges.filter((e) => !e.from.startsWith('segment'));
    const folding = fold(graph, none, { ...LIMITS, alike: 4 });
    expect([...folding.groups]).toEqual([
      ['of:window0', ['segment0', 'segment2', 'segment4', 'segment6']],
      ['of:window1', ['segment1', 'segment3', 'segment5', 'segment7']],
    ]);
    expect(contract(graph, folding).nodes.at(-1)).toMatchObject({ label: 'Segment: 4 segments', details: ['s1, s3, s5 …'] });
  });

  it.each([
    [300, 3],
    [1, 1_000],
    [1_000, 1],
    [40, 250],
  ])('draws few nodes of %i filters with %i segments each, and loses none', (filters, each) => {
    const graph = program(filters, each);
    const folding = fold(graph, none);
    const drawn = contract(graph, folding);
    expect(drawn.nodes.length).toBeLessThan(120);
    const inGroups = [...folding.groups.values()].reduce((sum, g) => sum + g.length, 0);
    expect(drawn.nodes.length - folding.groups.size + inGroups).toBe(graph.nodes.length);
    const ids = new Set(drawn.nodes.map((n) => n.id));
    expect(drawn.edges.filter((e) => !ids.has(e.from) || !ids.has(e.to))).toEqual([]);
    expect(drawn.nodes.filter((n) => n.id !== 'scan' && !drawn.edges.some((e) => e.to === n.id))).toEqual([]);
  });

  it('does not draw each combination of segments', () => {
    const graph = program(1, 200);
    for (let i = 0; i < 600; i++) {
      graph.nodes.push(node(`more${i}`, 'segment', `Derived segment: m${i}`));
      graph.edges.push({ from: `segment${i % 100}`, to: `more${i}` }, { from: `segment${100 + (i % 100)}`, to: `more${i}` });
    }
    expect(contract(graph, fold(graph, none)).nodes.length).toBeLessThan(80);
  });

  it('adds up what a group did', () => {
    const graph = program(300, 1);
    const rest = contract(graph, fold(graph, none)).nodes.find((n) => n.id === 'rest:window');
    expect(rest?.measured?.nanos).toBe(10 * (300 - LIMITS.filters + 1));
  });

  it('keeps what is looked at', () => {
    const graph = program(300, 3);
    const keep = new Set(['filter299', 'window299', 'segment899']);
    const drawn = contract(graph, fold(graph, keep));
    expect(drawn.nodes.filter((n) => keep.has(n.id)).map((n) => n.id)).toEqual([...keep]);
  });
});
