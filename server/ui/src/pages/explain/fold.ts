// Large programs with fewer nodes: what is alike, or too much, is drawn as one.
import type { PlanGraphData, PlanGraphNode } from '../../api';
import { isDerived, linksOf, titleOf, type Links } from './program';

export interface Folding {
  /** Which group a node is drawn in; those that are not here are drawn themselves. */
  into: ReadonlyMap<string, string>;
  /** What is in each group. */
  groups: ReadonlyMap<string, readonly string[]>;
}

export interface Limits {
  /** Segments that read the same are folded from so many on. */
  alike: number;
  filters: number;
  windows: number;
  segments: number;
  derived: number;
}

export const LIMITS: Limits = { alike: 5, filters: 12, windows: 16, segments: 24, derived: 16 };

/** Which nodes are drawn as one. `keep` stay by themselves. */
export function fold(graph: PlanGraphData, keep: ReadonlySet<string>, limits: Limits = LIMITS): Folding {
  const links = linksOf(graph);
  const into = new Map<string, string>();
  const home = (id: string) => into.get(id) ?? id;
  const free = (nodes: readonly PlanGraphNode[]) => nodes.filter((n) => !keep.has(n.id) && !into.has(n.id));
  const readers = readersOf(graph, links);
  const byUse = (a: PlanGraphNode, b: PlanGraphNode) => (readers.get(b.id) ?? 0) - (readers.get(a.id) ?? 0);

  /** Leaves the most used ones, so that at most `limit` are drawn. */
  const foldRest = (nodes: readonly PlanGraphNode[], limit: number, group: (node: PlanGraphNode) => string) => {
    const left = free(nodes);
    const drawn = new Set(nodes.filter((n) => into.has(n.id)).map((n) => into.get(n.id))).size + nodes.filter((n) => keep.has(n.id)).length;
    if (left.length + drawn <= limit) return;
    for (const node of left.sort(byUse).slice(Math.max(0, limit - drawn - 1))) into.set(node.id, group(node));
  };
  /** Puts those with the same inputs together that nothing else reads. */
  const foldAlike = (nodes: readonly PlanGraphNode[], group: (node: PlanGraphNode) => string) => {
    const leaves = free(nodes).filter((n) => !links.readBy.has(n.id));
    for (const [key, same] of groupBy(leaves, group)) if (same.length >= limits.alike) for (const node of same) into.set(node.id, key);
  };
  const inputs = (node: PlanGraphNode) => [...new Set(links.reads.get(node.id)?.map(home))].sort().join('+');

  const of = (kind: string, derived = false) => graph.nodes.filter((n) => n.kind === kind && isDerived(n) === derived);
  foldRest(of('filter'), limits.filters, () => 'rest:filter');
  for (const node of free(of('window'))) if (links.reads.get(node.id)?.every((id) => into.has(id))) into.set(node.id, 'rest:window');
  foldRest(of('window'), limits.windows, () => 'rest:window');
  // A filter is of no interest without what it filters for.
  for (const node of free(of('filter'))) if (links.readBy.get(node.id)?.every((id) => into.has(id))) into.set(node.id, 'rest:filter');
  const segments = of('segment');
  foldAlike(segments, (node) => `of:${inputs(node)}`);
  foldRest(segments, limits.segments, (node) => `of:${inputs(node)}`);
  const derived = of('segment', true);
  foldAlike(derived, (node) => `derived:${inputs(node)}`);
  foldRest(derived, limits.derived, () => 'rest:derived');
  // Combinations may be as many as there are segments.
  const combinations = new Set(derived.map((n) => home(n.id)));
  if (combinations.size > limits.derived + keep.size) for (const { id } of derived) if (!keep.has(id)) into.set(id, 'rest:derived');

  const folded = graph.nodes.map((n) => n.id).filter((id) => into.has(id));
  const groups = groupBy(folded, home);
  // A group of one is that one.
  for (const [group, [only, ...others]] of groups) {
    if (only !== undefined && others.length === 0) {
      groups.delete(group);
      into.delete(only);
    }
  }
  return { into, groups };
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

/** How many segments use each node; each is counted once for every way that leads there. */
function readersOf(graph: PlanGraphData, links: Links): Map<string, number> {
  const count = new Map<string, number>();
  // Nodes come after what they read.
  for (const node of [...graph.nodes].reverse()) {
    const below = links.readBy.get(node.id)?.reduce((sum, id) => sum + (count.get(id) ?? 0), 0) ?? 0;
    count.set(node.id, below + (node.kind === 'segment' ? 1 : 0));
  }
  return count;
}

const NOUNS: Record<string, string> = { filter: 'more filters', window: 'more aggregates', segment: 'segments' };
const PREFIXES: Record<string, string> = { filter: 'Filter', window: 'Aggregate', segment: 'Segment' };

function groupNode(id: string, nodes: readonly PlanGraphNode[]): PlanGraphNode {
  const first = nodes[0];
  const kind = first?.kind ?? 'segment';
  const derived = first !== undefined && isDerived(first);
  const names = nodes.slice(0, 3).map(titleOf).join(', ');
  const measured = nodes.flatMap((n) => (n.measured ? [n.measured] : []));
  const sum = (of: (m: { rows: number; nanos: number }) => number) => measured.reduce((total, m) => total + of(m), 0);
  return {
    id,
    kind,
    label: `${derived ? 'Derived segment' : (PREFIXES[kind] ?? kind)}: ${nodes.length} ${derived ? 'segments' : (NOUNS[kind] ?? 'nodes')}`,
    details: [nodes.length > 3 ? `${names} …` : names],
    ...(measured.length > 0 ? { measured: { rows: sum((m) => m.rows), nanos: sum((m) => m.nanos) } } : {}),
  };
}

/** The graph with each group as one node. */
export function contract(graph: PlanGraphData, { into, groups }: Folding): PlanGraphData {
  const { node } = linksOf(graph);
  const home = (id: string) => into.get(id) ?? id;
  const drawn = new Set<string>();
  const nodes: PlanGraphNode[] = [];
  for (const one of graph.nodes) {
    const id = home(one.id);
    if (drawn.has(id)) continue;
    drawn.add(id);
    const members = groups.get(id);
    nodes.push(members ? groupNode(id, members.flatMap((m) => node.get(m) ?? [])) : one);
  }
  const edges = new Map<string, { from: string; to: string }>();
  for (const edge of graph.edges) {
    const [from, to] = [home(edge.from), home(edge.to)];
    if (from !== to) edges.set(`${from} ${to}`, { from, to });
  }
  return { summary: graph.summary, nodes, edges: [...edges.values()] };
}
