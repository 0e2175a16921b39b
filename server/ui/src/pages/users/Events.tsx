import { Badge, Group, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { UserEvent } from '../../api';
import { DataTable, ShortMoment, type Column } from '../../components';
import { formatValue } from '../../lib/format';

/** What an event says beside its type and value. */
function Details({ event }: { event: UserEvent }) {
  const entries = Object.entries(event.metadata ?? {});
  return (
    <Group gap={4}>
      {entries.map(([key, value]) => (
        <Badge key={key} size="sm" color="gray" fw={450} maw="100%">
          {key} <b>{typeof value === 'object' ? JSON.stringify(value) : String(value)}</b>
        </Badge>
      ))}
    </Group>
  );
}

/** Events may be alike in everything: only their place tells them apart. */
type Row = UserEvent & { place: number };

const columns: Column<Row>[] = [
  { id: 'time', header: 'Time', cell: (e) => <ShortMoment at={e.timestamp} />, width: 100 },
  { id: 'type', header: 'Type', cell: (e) => <Text fw={550} size="sm">{e.eventType}</Text>, width: 120 },
  { id: 'value', header: 'Value', cell: (e) => formatValue(e.value), align: 'right', width: 90 },
  { id: 'details', header: 'Details', cell: (e) => <Details event={e} />, wide: true },
  { id: 'topic', header: 'Topic', cell: (e) => <Text size="sm" c="dimmed">{e.topic}</Text>, wide: true, width: 140 },
];
const narrow = columns.filter((c) => c.id !== 'topic');

interface EventsProps {
  label: string;
  events: readonly UserEvent[] | undefined;
  pageSize: number;
  empty?: ReactNode;
  /** Whether the topic is left out. */
  compact?: boolean;
}

/** Events of a user, as they came. */
export function Events({ label, events, pageSize, empty, compact }: EventsProps) {
  return (
    <DataTable
      label={label}
      columns={compact ? narrow : columns}
      rows={events?.map((event, place) => ({ ...event, place }))}
      rowKey={(e) => e.place}
      pageSize={pageSize}
      empty={empty}
    />
  );
}
