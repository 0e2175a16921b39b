import { Badge, Text, UnstyledButton } from '@mantine/core';
import { useMemo } from 'react';
import { DataTable, Panel, type Column, type MeasuredPlan } from '../../components';
import { formatCompact, formatDuration, formatRate, NONE } from '../../lib/format';
import classes from './explain.module.css';
import { formatLoad } from './load';
import { effortOf, operatorOf, OPERATORS, titleOf, usersOf, type Effort, type Links, type Operator } from './program';

interface Row {
  id: string;
  operator: Operator;
  title: string;
  users: number;
  effort: Effort | null;
}

interface OperatorsProps {
  plan: MeasuredPlan;
  before?: MeasuredPlan | undefined;
  links: Links;
  /** Only these; all without it. */
  way?: ReadonlySet<string> | undefined;
  selected?: string | undefined;
  onSelect: (id: string) => void;
}

/** Each node with what it does a second; the one that takes the most time first. */
export function Operators({ plan, before, links, way, selected, onSelect }: OperatorsProps) {
  const users = useMemo(() => new Map(plan.graph.nodes.map((n) => [n.id, usersOf(links, n.id).length])), [plan.graph, links]);
  const rows: Row[] = plan.graph.nodes
    .filter((n) => !way || way.has(n.id))
    .map((n) => ({ id: n.id, operator: operatorOf(n), title: titleOf(n), users: users.get(n.id) ?? 0, effort: effortOf(n, plan.at, before) }));
  const columns: Column<Row>[] = [
    {
      id: 'title',
      header: 'Node',
      cell: (row) => (
        <UnstyledButton
          className={classes.node}
          onClick={() => {
            onSelect(row.id);
          }}
        >
          <Text size="sm" fw={550} className="wrap" component="span" lineClamp={2}>
            {row.title}
          </Text>
        </UnstyledButton>
      ),
      sort: (row) => row.title,
    },
    {
      id: 'operator',
      header: 'Kind',
      cell: (row) => (
        <Badge color="gray" size="sm">
          {OPERATORS[row.operator].name}
        </Badge>
      ),
      sort: (row) => row.operator,
      wide: true,
    },
    { id: 'users', header: 'Segments', cell: (row) => formatCompact(row.users), sort: (row) => row.users, align: 'right', wide: true },
    { id: 'rate', header: 'Rows', cell: (row) => (row.effort ? (row.effort.rowRate === null ? formatCompact(row.effort.rows) : formatRate(row.effort.rowRate)) : NONE), sort: (row) => row.effort?.rowRate ?? row.effort?.rows ?? -1, align: 'right' },
    { id: 'row', header: 'Time a row', cell: (row) => (row.effort?.perRow == null ? NONE : formatLoad.perRow(row.effort.perRow)), sort: (row) => row.effort?.perRow ?? -1, align: 'right', wide: true },
    { id: 'load', header: 'Of a core', cell: (row) => (row.effort?.load == null ? NONE : formatLoad.share(row.effort.load)), sort: (row) => row.effort?.load ?? -1, align: 'right', wide: true },
    { id: 'time', header: 'Time so far', cell: (row) => (row.effort && row.effort.nanos > 0 ? formatDuration(row.effort.nanos / 1e6) : NONE), sort: (row) => row.effort?.nanos ?? -1, align: 'right' },
  ];
  return (
    <Panel title="Nodes" description="Segments are decided within their aggregate, so they have no time of their own." flush>
      <DataTable
        label="Nodes of the plan"
        columns={columns}
        rows={rows}
        rowKey={(row) => row.id}
        initialSort={{ id: 'time', descending: true }}
        pageSize={20}
        onOpen={(row) => {
          onSelect(row.id);
        }}
        selected={(row) => row.id === selected}
      />
    </Panel>
  );
}
