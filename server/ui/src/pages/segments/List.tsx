import { Badge, Group, Text } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Segment } from '../../api';
import { DataTable, RelativeTime, SegmentName, Sparkline, type Column } from '../../components';
import { formatCompact, NONE } from '../../lib/format';
import { Actions } from './Actions';
import { EmitBadge, KindBadge, State } from './badges';
import { kindOf } from './kind';
import classes from './segments.module.css';

interface ListProps {
  segments: readonly Segment[] | undefined;
  empty: ReactNode;
}

/** Who entered and left in the last minutes. */
function Movement({ entered, exited }: Pick<Segment, 'entered' | 'exited'>) {
  if (!entered && !exited) return <span className={classes.none}>{NONE}</span>;
  return (
    <Group gap={10} wrap="nowrap" justify="flex-end">
      <span style={{ color: 'var(--app-entered)' }} aria-label={`${entered} entered`}>{`+${formatCompact(entered)}`}</span>
      <span style={{ color: 'var(--app-exited)' }} aria-label={`${exited} left`}>{`−${formatCompact(exited)}`}</span>
    </Group>
  );
}

/** Segments in a table, with their sizes as they are now. */
export function List({ segments, empty }: ListProps) {
  const navigate = useNavigate();
  const columns: Column<Segment>[] = [
    {
      id: 'name',
      header: 'Name',
      sort: (s) => s.name,
      cell: (s) => (
        <div className={classes.name}>
          <SegmentName name={s.name} />
          {!s.active && (
            <Badge size="xs" color="gray" ml={8} hiddenFrom="sm">
              paused
            </Badge>
          )}
          {s.description && (
            <Text size="sm" c="dimmed" lineClamp={1}>
              {s.description}
            </Text>
          )}
        </div>
      ),
    },
    { id: 'size', header: 'Members', align: 'right', sort: (s) => s.size, width: 100, cell: (s) => <b>{formatCompact(s.size)}</b> },
    {
      id: 'trend',
      header: 'Trend',
      wide: true,
      width: 112,
      cell: (s) => (s.active ? <Sparkline values={s.trend} height={24} /> : null),
    },
    { id: 'moves', header: 'Last 5 min', align: 'right', wide: true, sort: (s) => s.entered + s.exited, width: 112, cell: (s) => <Movement {...s} /> },
    { id: 'emit', header: 'Results', wide: true, sort: (s) => s.emit, width: 108, cell: (s) => (s.emit ? <EmitBadge emit={s.emit} reason={s.emitReason} /> : NONE) },
    { id: 'kind', header: 'Written as', wide: true, sort: (s) => kindOf(s), width: 104, cell: (s) => <KindBadge kind={kindOf(s)} /> },
    { id: 'status', header: 'Status', wide: true, sort: (s) => s.active, width: 88, cell: (s) => <State active={s.active} /> },
    {
      id: 'updated',
      header: 'Changed',
      wide: true,
      sort: (s) => s.updatedAt,
      width: 100,
      cell: (s) => (
        <Text size="sm" c="dimmed" component="span">
          <RelativeTime at={s.updatedAt} />
        </Text>
      ),
    },
    { id: 'actions', header: 'Actions', hideHeader: true, align: 'right', width: 48, cell: (s) => <Actions segment={s} /> },
  ];
  return (
    <DataTable
      label="Segments"
      columns={columns}
      rows={segments}
      rowKey={(s) => s.id}
      initialSort={{ id: 'name' }}
      pageSize={50}
      empty={empty}
      onOpen={(s) => void navigate({ to: '/segments/$name', params: { name: s.name } })}
    />
  );
}
