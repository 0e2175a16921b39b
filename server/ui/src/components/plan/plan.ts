// Plans as nodes and edges to draw.
import type { PlanGraphData, PlanGraphNode } from '../../api';
import { formatCompact, formatCount, formatDuration, formatRate } from '../../lib/format';

export interface PlanBadge {
  label: string;
  /** A colour of the theme. */
  color?: string;
  title?: string;
}

export interface PlanNode {
  id: string;
  /** `scan`, `filter`, `window`, `segment`, `derived`, or any other; it decides the colour. */
  kind: string;
  /** What the kind is called, above the title. */
  type?: string;
  title: string;
  details?: readonly string[];
  /** All that is known, to hover over and for screen readers; the details by default. */
  more?: readonly string[];
  badges?: readonly PlanBadge[];
  /** Share of the time of all nodes, 0 to 1; drawn as a bar. */
  share?: number;
  /** Whether several segments use it; it is drawn as a stack. */
  shared?: boolean;
}

export interface PlanEdge {
  from: string;
  to: string;
  label?: string;
  /** Of the line, px. */
  width?: number;
}

const TYPES: Record<string, string> = { scan: 'Scan', filter: 'Filter', window: 'Aggregate', segment: 'Segment', derived: 'Derived segment' };

/** All nodes from which one comes. */
export function readsOf(edges: readonly PlanEdge[], id: string): Set<string> {
  const found = new Set([id]);
  const todo = [id];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const edge of edges) {
      if (edge.to === next && !found.has(edge.from)) {
        found.add(edge.from);
        todo.push(edge.from);
      }
    }
  }
  return found;
}

/** A detail without what only the engine cares about. */
const short = (detail: string) => detail.replace(/^having \([^)]*\): /, 'having ').replace(/^condition \([^)]*\): /, '').replace(/Utf8\("([^"]*)"\)/g, "'$1'");

const EMIT = /^emit (CHANGES|FINAL)(?:: (.*))?$/s;

/** How many segments use an operator. */
function sharedBy({ kind, details, shared }: PlanGraphNode): number {
  if (kind === 'segment' || kind === 'scan') return 0;
  return shared ?? Number(details.map((d) => /^shared by (\d+) segment/.exec(d)?.[1]).find((n) => n !== undefined) ?? 0);
}

export interface MeasuredPlan {
  graph: PlanGraphData;
  /** When it was read, ms. */
  at: number;
}

/** Rows and nanoseconds a second of a node since an earlier look; `null` when that is not known. */
export function speed(node: PlanGraphNode, now: number, before: MeasuredPlan | undefined) {
  const old = before?.graph.nodes.find((n) => n.id === node.id && n.label === node.label)?.measured;
  const seconds = before ? (now - before.at) / 1000 : 0;
  if (!node.measured || !old || seconds <= 0 || node.measured.rows < old.rows) return null;
  return { rows: (node.measured.rows - old.rows) / seconds, nanos: (node.measured.nanos - old.nanos) / seconds };
}

/** The plan of the API as nodes and edges, with rows a second since an earlier look. */
export function planOf({ graph, at }: MeasuredPlan, before?: MeasuredPlan): { nodes: PlanNode[]; edges: PlanEdge[] } {
  const total = graph.nodes.reduce((sum, n) => sum + (n.measured?.nanos ?? 0), 0);
  const nodes = graph.nodes.map((node): PlanNode => {
    const split = node.label.indexOf(': ');
    const derived = node.label.startsWith('Derived segment');
    const kind = derived ? 'derived' : node.kind;
    const shared = sharedBy(node);
    const emit = node.details.map((d) => EMIT.exec(d)).find((found) => found !== null);
    const now = speed(node, at, before);
    const badges: PlanBadge[] = [];
    if (shared > 1) badges.push({ label: `shared by ${formatCompact(shared)}`, color: 'teal', title: `${formatCount(shared)} segments use this one` });
    if (now) badges.push({ label: formatRate(now.rows), color: 'cobalt', title: 'rows a second' });
    else if (node.measured) badges.push({ label: `${formatCompact(node.measured.rows)} rows`, color: 'cobalt', title: 'rows so far' });
    if (node.measured && node.measured.nanos > 0) {
      const each = node.measured.rows > 0 ? node.measured.nanos / node.measured.rows : 0;
      badges.push({ label: formatDuration(node.measured.nanos / 1e6), color: 'gray', title: `time so far; ${Math.round(each)} ns a row` });
    }
    if (emit) badges.push({ label: emit[1] === 'FINAL' ? 'at the close' : 'at once', color: emit[1] === 'FINAL' ? 'orange' : 'teal', title: `EMIT ${emit[1]}: ${emit[2] ?? ''}` });
    return {
      id: node.id,
      kind,
      type: TYPES[kind] ?? kind,
      title: split > 0 ? node.label.slice(split + 2) : node.label,
      details: node.details.filter((d) => !/^shared by /.test(d) && !EMIT.test(d)).map(short),
      more: node.details,
      badges,
      ...(shared > 1 ? { shared: true } : {}),
      ...(node.measured && total > 0 && node.measured.nanos > 0 ? { share: node.measured.nanos / total } : {}),
    };
  });
  return { nodes, edges: graph.edges };
}
