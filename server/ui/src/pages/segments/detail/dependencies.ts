// What a segment reads and what reads it, as a graph, from the plan of the service.
import type { PlanGraphData } from '../../../api';
import type { PlanEdge, PlanNode } from '../../../components';
import { plural } from '../../../lib/format';

interface About {
  size: number;
  derived: boolean;
}

export interface Dependencies {
  nodes: PlanNode[];
  edges: PlanEdge[];
  /** Names of segments, in the order of the graph. */
  reads: string[];
}

const named = (label: string) => label.slice(label.indexOf(': ') + 2);

/**
 * Streams, segments that are read, the segment itself, and its readers. Steps between are left out, and so are hidden
 * segments (`name/5m`), which stand for the one that they belong to.
 */
export function dependenciesOf(name: string, plan: PlanGraphData | undefined, readers: readonly string[], about: (name: string) => About | undefined): Dependencies {
  const nodes = new Map<string, PlanNode>();
  const edges = new Map<string, PlanEdge>();
  const segment = (of: string, derived: boolean): PlanNode => {
    const known = about(of);
    const badges = known ? [{ label: plural(known.size, 'member'), color: 'gray' }] : [];
    const self = of === name;
    return { id: of, kind: derived ? 'derived' : 'segment', type: self ? 'This segment' : derived ? 'Derived segment' : 'Segment', title: of, badges };
  };
  const link = (from: string, to: string) => {
    if (from !== to) edges.set(`${from}\n${to}`, { from, to });
  };

  const all = plan?.nodes ?? [];
  const names = new Set(all.filter((n) => n.kind === 'segment').map((n) => named(n.label)));
  const owner = (of: string) => {
    const at = of.lastIndexOf('/');
    return at > 0 && names.has(of.slice(0, at)) ? of.slice(0, at) : of;
  };
  const shown = new Map<string, string>();
  for (const node of all) {
    if (node.kind === 'scan') {
      const id = `stream ${named(node.label)}`;
      shown.set(node.id, id);
      nodes.set(id, { id, kind: 'scan', type: 'Stream', title: named(node.label) });
    } else if (node.kind === 'segment') {
      const of = owner(named(node.label));
      shown.set(node.id, of);
      // The owner's own node says whether it is derived from others.
      if (!nodes.has(of)) nodes.set(of, segment(of, false));
    }
  }
  /** What a node comes from, past steps that are not drawn. */
  const sources = (id: string): string[] =>
    (plan?.edges ?? []).filter((e) => e.to === id).flatMap(({ from }) => (shown.has(from) ? [shown.get(from) ?? from] : sources(from)));
  for (const [id, to] of shown) for (const from of sources(id)) link(from, to);

  if (!nodes.has(name)) nodes.set(name, segment(name, about(name)?.derived ?? false));
  for (const reader of readers) {
    if (!nodes.has(reader)) nodes.set(reader, segment(reader, true));
    link(name, reader);
  }
  // A segment is derived when it reads one.
  for (const { from, to } of edges.values()) {
    const node = nodes.get(to);
    if (node && nodes.get(from)?.kind !== 'scan') nodes.set(to, segment(to, true));
  }
  const reads = [...edges.values()].filter((e) => e.to === name && nodes.get(e.from)?.kind !== 'scan').map((e) => e.from);
  return { nodes: [...nodes.values()], edges: [...edges.values()], reads };
}

/** Steps of a segment that others use too, with their names; those that merely read the segment do not count. */
export function sharedSteps(name: string, plan: PlanGraphData | undefined): { id: string; step: string; with: string[] }[] {
  const nodes = plan?.nodes ?? [];
  const own = nodes.find((n) => n.kind === 'segment' && named(n.label) === name)?.segments ?? [];
  const others = (users: readonly string[]) => users.filter((s) => s !== name && !s.startsWith(`${name}/`) && !own.includes(s));
  return nodes
    .filter((n) => n.kind !== 'segment' && n.kind !== 'scan')
    .map((n) => ({ id: n.id, step: n.label, with: others(n.segments ?? []) }))
    .filter((s) => s.with.length > 0);
}
