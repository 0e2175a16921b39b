import { Button, Group, Text, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { notifications } from '@mantine/notifications';
import { IconChevronLeft, IconChevronRight, IconDownload, IconSearch, IconUsers } from '@tabler/icons-react';
import { useMutation } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { asProblem, membersCsv, useMembers, type Member, type Segment } from '../../../api';
import { DataTable, EmptyState, GenerateLink, LinkButton, Panel, ProblemAlert, RelativeTime, UserLink, type Column } from '../../../components';
import { formatValue, plural } from '../../../lib/format';
import { WindowTimes } from '../../users/WindowTimes';
import { fileName, save } from './members';

const PAGE = 50;

const columns: Column<Member>[] = [
  { id: 'user', header: 'User', cell: (m) => <UserLink id={m.userId} /> },
  { id: 'value', header: 'Value', cell: (m) => formatValue(m.value), align: 'right' },
  { id: 'since', header: 'Since', cell: (m) => <RelativeTime at={m.since} /> },
  { id: 'window', header: 'Window', cell: (m) => <WindowTimes start={m.windowStart} end={m.windowEnd} />, wide: true },
  { id: 'expires', header: 'Expires', cell: (m) => (m.expiresAt > 8.64e15 ? 'never' : <RelativeTime at={m.expiresAt} />), wide: true },
];

function Export({ segment }: { segment: Segment }) {
  const csv = useMutation({
    mutationFn: () => membersCsv(segment.name),
    onSuccess: (blob) => {
      save(blob, fileName(segment.name, Date.now()));
    },
    onError: (error) => notifications.show({ color: 'red', title: 'The export failed', message: asProblem(error).detail }),
  });
  return (
    <Button
      variant="default"
      size="sm"
      leftSection={<IconDownload size={16} />}
      disabled={segment.size === 0}
      loading={csv.isPending}
      onClick={() => {
        csv.mutate();
      }}
    >
      Export CSV
    </Button>
  );
}

/** Who is in the segment now, by id. */
export function Members({ segment }: { segment: Segment }) {
  const navigate = useNavigate();
  const { q = '' } = useSearch({ from: '/segments/$name' });
  const [text, setText] = useState(q);
  const [prefix] = useDebouncedValue(text.trim(), 200);
  // Cursors of the pages before, by prefix.
  const [pages, setPages] = useState<{ prefix: string; cursors: string[] }>({ prefix, cursors: [] });
  const cursors = pages.prefix === prefix ? pages.cursors : [];
  const { data, error, refetch } = useMembers(segment.name, { limit: PAGE, cursor: cursors.at(-1), q: prefix || undefined });
  const next = data?.cursor ?? undefined;

  useEffect(() => {
    void navigate({ to: '/segments/$name', params: { name: segment.name }, search: { tab: 'members', ...(prefix ? { q: prefix } : {}) }, replace: true });
  }, [navigate, segment.name, prefix]);

  const turn = (to: string[]) => {
    setPages({ prefix, cursors: to });
  };
  return (
    <Panel title="Members" description={`${plural(segment.size, 'user')} now, by id.`} actions={<Export segment={segment} />} flush>
      <Group px="md" pb="xs">
        <TextInput
          aria-label="Find members"
          placeholder="How the user id begins"
          leftSection={<IconSearch size={15} aria-hidden />}
          value={text}
          onChange={(event) => {
            setText(event.currentTarget.value);
          }}
          w={{ base: '100%', xs: 280 }}
          autoComplete="off"
          spellCheck={false}
        />
      </Group>
      {error && !data ? (
        <ProblemAlert error={error} onRetry={() => void refetch()} />
      ) : (
        <DataTable
          label="Members"
          columns={columns}
          rows={data?.items}
          rowKey={(m) => m.userId}
          empty={prefix ? <NotFound prefix={prefix} /> : <Nobody segment={segment} />}
          footer={
            (cursors.length > 0 || next !== undefined) && (
              <Group gap="xs">
                <Text size="sm" c="dimmed" className="num">
                  {cursors.length * PAGE + 1}–{cursors.length * PAGE + (data?.items.length ?? 0)}
                </Text>
                <Button variant="default" size="xs" leftSection={<IconChevronLeft size={14} />} disabled={cursors.length === 0} onClick={() => { turn(cursors.slice(0, -1)); }}>
                  Previous
                </Button>
                <Button variant="default" size="xs" rightSection={<IconChevronRight size={14} />} disabled={next === undefined} onClick={() => { if (next !== undefined) turn([...cursors, next]); }}>
                  Next
                </Button>
              </Group>
            )
          }
        />
      )}
    </Panel>
  );
}

function NotFound({ prefix }: { prefix: string }) {
  return (
    <EmptyState
      icon={IconSearch}
      title={`No member begins with ${prefix}`}
      text="Ids are case-sensitive. The user may be known without being in this segment."
      action={
        <LinkButton to="/users/$userId" params={{ userId: prefix }} variant="default">
          Look up user {prefix}
        </LinkButton>
      }
    />
  );
}

function Nobody({ segment }: { segment: Segment }) {
  return (
    <EmptyState
      icon={IconUsers}
      title="No members now"
      text={segment.active ? 'Users are listed here the moment that they enter.' : 'Nobody is in a segment that is paused.'}
      action={segment.active && <GenerateLink />}
    />
  );
}
