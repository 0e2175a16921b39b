import '@xyflow/react/dist/style.css';
import dagre from '@dagrejs/dagre';
import { Badge, Group, Text, Tooltip, useComputedColorScheme, VisuallyHidden } from '@mantine/core';
import { Background, Controls, Handle, MarkerType, MiniMap, Position, ReactFlow, ReactFlowProvider, useReactFlow, useStore, type Edge, type Node, type NodeProps } from '@xyflow/react';
import { createContext, memo, use, useEffect, useMemo } from 'react';
import classes from './plan.module.css';
import type { PlanEdge, PlanNode } from './plan';

export interface PlanGraphProps {
  /** What it shows, for screen readers. */
  label: string;
  nodes: readonly PlanNode[];
  edges: readonly PlanEdge[];
  height?: number | string;
  /** From left to right, or from top to bottom. */
  direction?: 'LR' | 'TB';
  selected?: string | null;
  onSelect?: (id: string | null) => void;
  /** Nodes that stand out; others step back. All of them when it is left out. */
  highlighted?: ReadonlySet<string>;
}

type Box = Node<{ node: PlanNode; direction: 'LR' | 'TB' }, 'box'>;

const WIDTH = 248;
const isPhone = (width: number) => width < 480;
/** Beside the graph there is room for the buttons. */
const paddingOf = (width: number) => ({ x: 0.06, y: 0.06, ...(isPhone(width) ? { bottom: '52px' as const } : { right: '60px' as const }) });

/** Smaller, texts cannot be read: rather, not all is in view. On a phone all of it is small, or else a part of it larger. */
function leastZoom(width: number, height: number, bounds: { width: number; height: number }): number {
  if (!isPhone(width)) return 0.43;
  return Math.min((width * 0.94) / bounds.width, (height * 0.94 - 52) / bounds.height) >= 0.6 ? 0.6 : 0.8;
}
/** From so many boxes on there is a map. */
const MANY = 30;

/** How high a node will be, so that it can be laid out before it is drawn. */
function heightOf(node: PlanNode): number {
  const lines = (text: string, chars: number) => Math.min(3, Math.ceil(text.length / chars));
  const details = (node.details ?? []).slice(0, 3).reduce((sum, d) => sum + lines(d, 40), 0);
  return 22 + 18 + lines(node.title, 33) * 19 + details * 17 + (node.badges?.length ? 28 : 0) + (node.share === undefined ? 0 : 6);
}

function layout(nodes: readonly PlanNode[], edges: readonly PlanEdge[], direction: 'LR' | 'TB') {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: direction, nodesep: 18, ranksep: 44, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: heightOf(node) });
  for (const edge of edges) graph.setEdge(edge.from, edge.to);
  dagre.layout(graph);
  return new Map(
    nodes.map((node) => {
      const at = graph.node(node.id) as { x: number; y: number; height: number };
      return [node.id, { x: at.x - WIDTH / 2, y: at.y - at.height / 2 }];
    }),
  );
}

const Highlight = createContext<ReadonlySet<string> | undefined>(undefined);

const BoxNode = memo(function BoxNode({ id, data: { node, direction }, selected }: NodeProps<Box>) {
  const highlighted = use(Highlight);
  const details = node.details ?? [];
  return (
    <div
      className={classes.node}
      data-kind={node.kind}
      data-shared={node.shared || undefined}
      data-selected={selected || undefined}
      data-faint={(highlighted && !highlighted.has(id)) || undefined}
      title={(node.more ?? details).join('\n')}
      style={{ width: WIDTH }}
    >
      <Handle type="target" position={direction === 'LR' ? Position.Left : Position.Top} isConnectable={false} />
      <Text className={classes.type}>{node.type ?? node.kind}</Text>
      <Text size="sm" fw={600} lh={1.35} lineClamp={3} className="wrap">
        {node.title}
      </Text>
      {details.slice(0, 3).map((detail) => (
        <Text key={detail} size="xs" c="dimmed" lineClamp={3} className={`wrap ${classes.extra ?? ''}`} lh={1.4}>
          {detail}
        </Text>
      ))}
      {(node.badges?.length ?? 0) > 0 && (
        <Group gap={4} mt={6} className={classes.extra}>
          {node.badges?.map((badge) => (
            <Tooltip key={badge.title ?? badge.label} label={badge.title} disabled={!badge.title}>
              <Badge size="sm" color={badge.color ?? 'gray'} className="num">
                {badge.label}
              </Badge>
            </Tooltip>
          ))}
        </Group>
      )}
      {node.share !== undefined && (
        <div className={`${classes.share ?? ''} ${classes.extra ?? ''}`} title={`${Math.round(node.share * 100)} % of the time`}>
          <div style={{ width: `${Math.max(2, node.share * 100)}%` }} />
        </div>
      )}
      <Handle type="source" position={direction === 'LR' ? Position.Right : Position.Bottom} isConnectable={false} />
    </div>
  );
});

const nodeTypes = { box: BoxNode };

function Graph({ nodes, edges, direction = 'LR', selected, onSelect, highlighted, label }: PlanGraphProps) {
  const scheme = useComputedColorScheme('light');
  const flow = useReactFlow();
  // Numbers change each second; places only change with the shape.
  const shape = JSON.stringify([nodes.map((n) => [n.id, heightOf(n)]), edges, direction]);
  // eslint-disable-next-line react-hooks/exhaustive-deps -- the shape stands for nodes and edges
  const places = useMemo(() => layout(nodes, edges, direction), [shape]);
  const ids = nodes.map((n) => n.id).join('\n');

  const way = highlighted ? nodes.filter((n) => highlighted.has(n.id)).map((n) => n.id) : [];
  const inView = way.join('\n');
  const width = useStore((state) => state.width);
  const height = useStore((state) => state.height);

  useEffect(() => {
    const frame = requestAnimationFrame(() => {
      const shown = inView ? inView.split('\n').map((id) => ({ id })) : undefined;
      const bounds = flow.getNodesBounds(shown?.map((n) => n.id) ?? flow.getNodes());
      void flow.fitView({ padding: paddingOf(width), maxZoom: 1, minZoom: leastZoom(width, height, bounds), ...(shown ? { nodes: shown } : {}) }).then(() => {
        // What does not fit is cut off where one reads last.
        const view = flow.getViewport();
        const [x, y] = [bounds.x * view.zoom + view.x, bounds.y * view.zoom + view.y];
        if (x < 0 || y < 0) void flow.setViewport({ zoom: view.zoom, x: view.x + (x < 0 ? 12 - x : 0), y: view.y + (y < 0 ? 12 - y : 0) });
      });
    });
    return () => {
      cancelAnimationFrame(frame);
    };
  }, [flow, ids, direction, inView, width, height]);

  const boxes: Box[] = nodes.map((node) => ({
    id: node.id,
    type: 'box',
    position: places.get(node.id) ?? { x: 0, y: 0 },
    data: { node, direction },
    selected: node.id === selected,
    ariaLabel: `${node.type ?? node.kind} ${node.title}`,
    width: WIDTH,
    initialHeight: heightOf(node),
  }));
  const lines: Edge[] = edges.map((edge) => {
    const faint = highlighted !== undefined && !(highlighted.has(edge.from) && highlighted.has(edge.to));
    return {
      id: `${edge.from} ${edge.to}`,
      source: edge.from,
      target: edge.to,
      label: edge.label,
      focusable: false,
      className: faint ? classes.faintEdge : undefined,
      ...(edge.width ? { style: { strokeWidth: edge.width } } : {}),
      markerEnd: { type: MarkerType.ArrowClosed, width: 14, height: 14, markerUnits: 'userSpaceOnUse' },
    };
  });

  return (
    <Highlight value={highlighted}>
      <ReactFlow
        nodes={boxes}
        edges={lines}
        nodeTypes={nodeTypes}
        colorMode={scheme}
        nodesDraggable={false}
        nodesConnectable={false}
        edgesFocusable={false}
        nodesFocusable={onSelect !== undefined}
        elementsSelectable={onSelect !== undefined}
        onNodesChange={(changes) => {
          // Enter and Space on a node select it, as a click does.
          for (const change of changes) if (change.type === 'select' && change.selected) onSelect?.(change.id);
        }}
        onPaneClick={() => onSelect?.(null)}
        minZoom={0.1}
        maxZoom={1.6}
        preventScrolling={false}
        zoomOnScroll={false}
        aria-label={label}
        proOptions={{ hideAttribution: true }}
      >
        <Background gap={20} size={1} />
        {nodes.length > MANY && <MiniMap pannable zoomable position="bottom-left" ariaLabel="Map of the graph" className={classes.map} />}
        <Controls showInteractive={false} position="bottom-right" orientation={isPhone(width) ? 'horizontal' : 'vertical'} aria-label="View of the graph" />
      </ReactFlow>
    </Highlight>
  );
}

/** The same for those who do not see the drawing. */
function AsText({ nodes, edges }: Pick<PlanGraphProps, 'nodes' | 'edges'>) {
  const title = new Map(nodes.map((n) => [n.id, `${n.type ?? n.kind} ${n.title}`]));
  return (
    <VisuallyHidden>
      <ul>
        {nodes.map((node) => {
          const to = edges.filter((e) => e.from === node.id).map((e) => title.get(e.to));
          return (
            <li key={node.id}>
              {[title.get(node.id), ...(node.more ?? node.details ?? []), ...(node.badges ?? []).map((b) => b.label), to.length > 0 ? `goes to ${to.join(', ')}` : '']
                .filter(Boolean)
                .join('; ')}
            </li>
          );
        })}
      </ul>
    </VisuallyHidden>
  );
}

export default function FlowGraph(props: PlanGraphProps) {
  return (
    <div className={classes.frame} style={{ height: props.height ?? 420 }}>
      <ReactFlowProvider>
        <Graph {...props} />
      </ReactFlowProvider>
      <AsText nodes={props.nodes} edges={props.edges} />
    </div>
  );
}
