import { Text } from '@mantine/core';
import type { UserEvent } from '../../api';
import { CopyButton, DataTable, Panel, ShortMoment, type Column } from '../../components';
import { formatValue } from '../../lib/format';
import classes from './generate.module.css';

const columns: Column<UserEvent>[] = [
  { id: 'user', header: 'User', cell: (e) => <span className="mono">{e.userId}</span> },
  { id: 'time', header: 'Time', cell: (e) => <ShortMoment at={e.timestamp} /> },
  { id: 'value', header: 'Value', cell: (e) => formatValue(e.value), align: 'right' },
  {
    id: 'metadata',
    header: 'Metadata',
    cell: (e) => (
      <span className={classes.metadata}>
        {Object.entries(e.metadata ?? {}).map(([key, value]) => (
          <span key={key}>
            <Text span size="xs" c="dimmed" className={classes.key}>
              {key}{' '}
            </Text>
            {String(value)}
          </span>
        ))}
      </span>
    ),
  },
];

/** The first events, as they will be sent. */
export function Sample({ events }: { events: readonly UserEvent[] }) {
  return (
    <Panel
      title={events.length === 1 ? 'The event' : `The first ${events.length} events`}
      description="As they are sent; times move on with the clock."
      actions={<CopyButton value={JSON.stringify(events, null, 2)} what="them as JSON" />}
      flush
    >
      <DataTable label="First events" columns={columns} rows={events} rowKey={(e) => `${e.userId} ${e.timestamp}`} />
    </Panel>
  );
}
