// What a plan says of its nodes, without drawing it.
import type { PlanGraphData, PlanGraphNode } from '../../api';
import { speed, type MeasuredPlan } from '../../components';
import { plain } from '../../lib/expression';

export interface Links {
  node: ReadonlyMap<string, PlanGraphNode>;
  /** What a node reads. */
  reads: ReadonlyMap<string, readonly string[]>;
  /** What reads a node. */
  readBy: ReadonlyMap<string, readonly string[]>;
}

export function linksOf({ nodes, edges }: PlanGraphData): Links {
  const [reads, readBy] = [new Map<string, string[]>(), new Map<string, string[]>()];
  const add = (to: Map<string, string[]>, key: string, value: string) => {
    const list = to.get(key);
    if (list) list.push(value);
    else to.set(key, [value]);
  };
  for (const { from, to } of edges) {
    add(reads, to, from);
    add(readBy, from, to);
  }
  return { node: new Map(nodes.map((n) => [n.id, n])), reads, readBy };
}

/** All that one comes to by steps from a node, with the node. */
export function reach(steps: ReadonlyMap<string, readonly string[]>, start: string): Set<string> {
  const found = new Set([start]);
  // A set is walked in the order in which things are added, also while one walks.
  for (const id of found) for (const next of steps.get(id) ?? []) found.add(next);
  return found;
}

/** Ids of segments that use a node, themselves or through others. */
export const usersOf = (links: Links, id: string): string[] => [...reach(links.readBy, id)].filter((n) => links.node.get(n)?.kind === 'segment');

/** The part of a label after what the node is. */
export const titleOf = (node: PlanGraphNode): string => node.label.slice(node.label.indexOf(': ') + 2);

export const isDerived = (node: PlanGraphNode): boolean => node.label.startsWith('Derived');

export type Operator = 'scan' | 'filter' | 'window' | 'segment' | 'derived';
export const operatorOf = (node: PlanGraphNode): Operator => (isDerived(node) ? 'derived' : (node.kind as Operator));

/** Names of the kinds of nodes. */
export const OPERATORS: Record<Operator, { name: string; does: string }> = {
  scan: { name: 'Scan', does: 'Reads events, once for all segments, and only the columns that some segment needs.' },
  filter: { name: 'Filter', does: 'Lets through the events that a WHERE asks for. Segments with the same condition share it.' },
  window: { name: 'Aggregate', does: 'Keeps a number per slot for each user, in panes that windows are put together from. Segments with the same filter and window share it.' },
  segment: { name: 'Segment', does: 'Compares the slots of a user with its condition. Simple comparisons of all segments stand in one index, sorted by threshold.' },
  derived: { name: 'Derived segment', does: 'Combines the members of other segments.' },
};

const after = (details: readonly string[], prefix: string) => details.filter((d) => d.startsWith(prefix)).map((d) => d.slice(prefix.length));

export interface Facts {
  columns: string[];
  masks: string[];
  slots: string[];
  condition?: { text: string; how: string };
  emit?: { when: string; why: string };
}

/** At commas that are in no brackets. */
function splitList(list: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const char of list) {
    if ('([{'.includes(char)) depth += 1;
    if (')]}'.includes(char)) depth -= 1;
    if (char === ',' && depth === 0) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts.map((p) => p.trim()).filter((p) => p !== '' && p !== 'none');
}

/** The details of a node, taken apart. */
export function factsOf({ details }: PlanGraphNode): Facts {
  const condition = details.map((d) => /^(?:having|condition) \(([^)]*)\): (.*)$/s.exec(d)).find((m) => m !== null);
  const emit = details.map((d) => /^emit (\w+)(?:: (.*))?$/s.exec(d)).find((m) => m !== null);
  return {
    columns: after(details, 'columns: ').flatMap(splitList),
    masks: after(details, 'condition evaluated once a batch: '),
    slots: after(details, 'slots: ').flatMap(splitList),
    ...(condition ? { condition: { how: condition[1] ?? '', text: plain(condition[2] ?? '') } } : {}),
    ...(emit ? { emit: { when: emit[1] ?? '', why: plain(emit[2] ?? '') } } : {}),
  };
}

export interface Effort {
  rows: number;
  nanos: number;
  /** A second, where it is known. */
  rowRate: number | null;
  /** Of a core, 0 to 1 and more, where it is known. */
  load: number | null;
  /** Nanoseconds a row, lately where it is known. */
  perRow: number | null;
}

export function effortOf(node: PlanGraphNode, at: number, before?: MeasuredPlan): Effort | null {
  if (!node.measured) return null;
  const { rows, nanos } = node.measured;
  const now = speed(node, at, before);
  const lately = now && now.rows > 0 ? now.nanos / now.rows : rows > 0 ? nanos / rows : null;
  return { rows, nanos, rowRate: now?.rows ?? null, load: now && nanos > 0 ? now.nanos / 1e9 : null, perRow: nanos > 0 ? lately : null };
}

export interface Summary {
  /** What there is of what: `[5, 'filters']`. */
  counts: [number, string][];
  /** What else is said, e.g. that some partitions did not answer. */
  note: string;
}

export function summaryOf(summary: string): Summary {
  const [numbers = '', ...notes] = summary.split('; ');
  const counts = numbers.split(/ → |, /).map((part) => /^([\d,]+) (.+)$/.exec(part));
  return { counts: counts.flatMap((m): [number, string][] => (m ? [[Number(m[1]?.replaceAll(',', '')), m[2] ?? '']] : [])), note: notes.join('; ') };
}
