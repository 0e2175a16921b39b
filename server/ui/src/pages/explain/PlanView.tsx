import { Alert, Button, Grid, Group, SegmentedControl, Select, Text } from '@mantine/core';
import { IconArrowsMinimize } from '@tabler/icons-react';
import { useMemo } from 'react';
import { EmptyState, LinkButton, PlanGraph, planOf, type MeasuredPlan } from '../../components';
import { formatCount, plural } from '../../lib/format';
import { Details } from './Details';
import classes from './explain.module.css';
import { contract, fold } from './fold';
import { Operators } from './Operators';
import { linksOf, reach, titleOf, usersOf } from './program';

export interface Look {
  segment?: string;
  node?: string;
  view?: 'table';
}

export interface PlanViewProps extends Look {
  plan: MeasuredPlan;
  /** An earlier look, for what happens a second. */
  before?: MeasuredPlan;
  onLook: (change: Look) => void;
  /** Whether the segments of the plan have pages. */
  known: boolean;
}

/** A plan as a graph or as a table, with the details of one of its nodes. */
export function PlanView({ plan, before, segment, node: chosen, view, onLook, known }: PlanViewProps) {
  const { graph } = plan;
  const links = useMemo(() => linksOf(graph), [graph]);
  const names = useMemo(() => graph.nodes.filter((n) => n.kind === 'segment').map((n) => ({ value: titleOf(n), label: titleOf(n), id: n.id })), [graph]);
  const focused = names.find((n) => n.value === segment)?.id;
  const way = useMemo(() => (focused === undefined ? undefined : reach(links.reads, focused)), [links, focused]);
  const folding = useMemo(() => fold(graph, new Set([...(way ?? []), ...(chosen ? [chosen] : [])])), [graph, way, chosen]);
  const drawn = useMemo(() => {
    const uses = new Map(graph.nodes.map((n) => [n.id, n.kind === 'segment' ? 0 : usersOf(links, n.id).length]));
    const shared = (nodes: typeof graph.nodes) => nodes.map((n) => ({ ...n, shared: uses.get(n.id) ?? 0 }));
    const folded = contract(graph, folding);
    const { nodes, edges } = planOf(
      { graph: { ...folded, nodes: shared(folded.nodes) }, at: plan.at },
      before && { graph: contract(before.graph, folding), at: before.at },
    );
    // The more segments go through a line, the wider it is.
    const width = (to: string) => 1 + Math.min(4, Math.log2(1 + Math.max(0, (uses.get(to) ?? folding.groups.get(to)?.length ?? 1) - 1)));
    return { nodes, edges: edges.map((e) => ({ ...e, width: width(e.to) })) };
  }, [graph, links, folding, plan.at, before]);

  const select = (id: string | null) => {
    onLook({ node: id ?? undefined });
  };
  const focus = (name: string | null) => {
    onLook({ segment: name ?? undefined, node: undefined });
  };
  const node = chosen !== undefined && (links.node.has(chosen) || folding.groups.has(chosen)) ? chosen : undefined;

  if (names.length === 0) {
    return (
      <EmptyState
        title="Nothing runs yet"
        text="As soon as there is a segment, you see here how it is evaluated, and what it shares with others."
        action={<LinkButton to="/segments/new">New segment</LinkButton>}
      />
    );
  }
  const folded = folding.into.size;
  return (
    <>
      <Group gap="sm" mt={6} mb="sm" align="flex-end" justify="space-between">
        <Group gap="sm" align="flex-end">
          <Select
            aria-label="Show the way of one segment"
            placeholder="All segments"
            data={names}
            value={focused === undefined ? null : (segment ?? null)}
            onChange={focus}
            limit={60}
            searchable
            clearable
            nothingFoundMessage="No segment of this name"
            w={260}
            maxDropdownHeight={320}
          />
          {way && (
            <>
              <Button
                variant="default"
                onClick={() => {
                  focus(null);
                }}
              >
                Show all segments
              </Button>
              <Text size="sm" c="dimmed" pb={8}>
                {plural(way.size, 'node')} of {formatCount(graph.nodes.length)} are on its way
              </Text>
            </>
          )}
        </Group>
        <SegmentedControl
          aria-label="Show as"
          value={view ?? 'graph'}
          onChange={(value) => {
            onLook({ view: value === 'table' ? 'table' : undefined });
          }}
          data={[
            { value: 'graph', label: 'Graph' },
            { value: 'table', label: 'Table' },
          ]}
        />
      </Group>
      {segment !== undefined && focused === undefined && (
        <Alert color="orange" variant="light" mb="sm" title={`${segment} does not run`}>
          It is paused, or there is no such segment.{' '}
          <Button
            variant="subtle"
            size="compact-sm"
            onClick={() => {
              focus(null);
            }}
          >
            Show all segments
          </Button>
        </Alert>
      )}
      <Grid gap="md">
        <Grid.Col span={{ base: 12, lg: node ? 8 : 12 }}>
          {view === 'table' ? (
            <Operators plan={plan} before={before} links={links} way={way} selected={node} onSelect={select} />
          ) : (
            <PlanGraph
              label={segment && focused ? `How ${segment} runs` : 'How segments run'}
              {...drawn}
              height={Math.min(680, Math.max(420, drawn.nodes.length * 30))}
              selected={node ?? null}
              onSelect={select}
              {...(way ? { highlighted: way } : {})}
            />
          )}
          {view !== 'table' && folded > 0 && (
            <Text size="sm" c="dimmed" mt={8} component="p" className={classes.note}>
              <IconArrowsMinimize size={15} aria-hidden />
              <span>
                {`${plural(graph.nodes.length, 'node')} are drawn as ${drawn.nodes.length}: ${plural(folded, 'node')} that are alike, or used by few segments, stand in ${plural(folding.groups.size, 'group')}. Choose a segment, or open a group, to see what is in it.`}
              </span>
            </Text>
          )}
        </Grid.Col>
        {node && (
          <Grid.Col span={{ base: 12, lg: 4 }}>
            <Details
              key={node}
              id={node}
              plan={plan}
              before={before}
              links={links}
              members={folding.groups.get(node)}
              known={known}
              onSelect={select}
              onFocus={focus}
            />
          </Grid.Col>
        )}
      </Grid>
    </>
  );
}
