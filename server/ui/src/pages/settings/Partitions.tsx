import { Badge, Text } from '@mantine/core';
import type { Partition, ServiceStatus } from '../../api';
import { DataTable, EmptyState, Panel, type Column } from '../../components';
import { formatBytes, formatCount, formatDuration } from '../../lib/format';

function columns(now: number): Column<Partition>[] {
  const behind = (p: Partition) => (p.watermark == null ? null : now - p.watermark);
  return [
    { id: 'partition', header: 'Partition', cell: (p) => p.partition, sort: (p) => p.partition, width: 90 },
    {
      id: 'state',
      header: 'State',
      cell: (p) => (
        <Badge size="sm" color={p.idle ? 'gray' : 'teal'}>
          {p.idle ? 'idle' : 'busy'}
        </Badge>
      ),
    },
    { id: 'events', header: 'Events', cell: (p) => formatCount(p.events), sort: (p) => p.events, align: 'right' },
    { id: 'lag', header: 'Lag', cell: (p) => formatCount(p.lag), sort: (p) => p.lag, align: 'right' },
    { id: 'behind', header: 'Behind', cell: (p) => formatDuration(behind(p)), sort: behind, align: 'right' },
    { id: 'bytes', header: 'Kept', cell: (p) => formatBytes(p.stateBytes), sort: (p) => p.stateBytes, align: 'right', wide: true },
    { id: 'members', header: 'Members', cell: (p) => formatCount(p.members), sort: (p) => p.members, align: 'right', wide: true },
    { id: 'dead', header: 'Dead letters', cell: (p) => formatCount(p.deadLetters), sort: (p) => p.deadLetters, align: 'right', wide: true },
    {
      id: 'waits',
      header: 'Next window waits for',
      cell: (p) => (
        <Text size="sm" c="dimmed" miw={170}>
          {p.waitsFor}
        </Text>
      ),
      wide: true,
    },
  ];
}

export function Partitions({ status }: { status: ServiceStatus }) {
  return (
    <Panel title="Partitions" description="What this process reads, and how far it is." flush>
      <DataTable
        label="Partitions"
        columns={columns(status.now)}
        rows={status.partitions}
        rowKey={(p) => p.partition}
        initialSort={{ id: 'partition' }}
        pageSize={16}
        empty={<EmptyState title="No partitions" text="Other members of the consumer group read them all." />}
      />
    </Panel>
  );
}
