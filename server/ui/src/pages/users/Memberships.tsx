import { Button } from '@mantine/core';
import { IconUsers } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import type { Membership } from '../../api';
import { DataTable, EmptyState, Panel, RelativeTime, SegmentName, type Column } from '../../components';
import { formatValue } from '../../lib/format';
import { WindowTimes } from './WindowTimes';

const FOREVER = 8.64e15;

/** The segments that a user is in. */
export function Memberships({ userId, memberships }: { userId: string; memberships: readonly Membership[] }) {
  const navigate = useNavigate();
  const why = (segment: string) => {
    void navigate({ to: '/users/$userId', params: { userId }, search: { segment }, replace: true, resetScroll: false });
    document.getElementById('why')?.scrollIntoView({ behavior: 'smooth', block: 'start' });
  };
  const columns: Column<Membership>[] = [
    { id: 'segment', header: 'Segment', cell: (m) => <SegmentName name={m.segment} />, sort: (m) => m.segment },
    { id: 'value', header: 'Value', cell: (m) => formatValue(m.value), sort: (m) => m.value, align: 'right' },
    { id: 'since', header: 'Since', cell: (m) => <RelativeTime at={m.since} />, sort: (m) => m.since },
    { id: 'window', header: 'Window', cell: (m) => <WindowTimes start={m.windowStart} end={m.windowEnd} />, sort: (m) => m.windowEnd, wide: true },
    {
      id: 'expires',
      header: 'Expires',
      cell: (m) => (m.expiresAt > FOREVER ? 'never' : <RelativeTime at={m.expiresAt} />),
      sort: (m) => m.expiresAt,
      wide: true,
    },
    {
      id: 'why',
      header: 'Why',
      hideHeader: true,
      align: 'right',
      cell: (m) => (
        <Button
          size="compact-sm"
          variant="light"
          aria-label={`Why ${userId} is in ${m.segment}`}
          onClick={() => {
            why(m.segment);
          }}
        >
          Why?
        </Button>
      ),
    },
  ];
  return (
    <Panel title="Memberships" flush description="Kept until they expire, unless something is written before.">
      <DataTable
        label="Memberships"
        columns={columns}
        rows={memberships}
        rowKey={(m) => m.segment}
        initialSort={{ id: 'segment' }}
        pageSize={10}
        empty={<EmptyState icon={IconUsers} title="In no segment" text="Below is how far off each one is. Memberships show up here as events arrive." />}
      />
    </Panel>
  );
}

