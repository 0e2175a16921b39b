import { Alert, Select, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconPlus, IconSearch, IconStack2 } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useSegments } from '../../api';
import { EmptyState, LinkButton, PageHeader, Panel, ProblemAlert, TextLink } from '../../components';
import { formatCount, plural } from '../../lib/format';
import { KIND_LABELS, KIND_TYPES } from './kind';
import { List } from './List';
import type { SegmentsSearch } from './search';
import classes from './segments.module.css';

const MOST = 1000;
const KIND_OPTIONS = Object.entries(KIND_LABELS).map(([value, label]) => ({ value, label }));
const STATE_OPTIONS = [
  { value: 'active', label: 'Active' },
  { value: 'paused', label: 'Paused' },
];

/** All segments, with what they do and what can be done with them. */
export default function SegmentsPage() {
  const navigate = useNavigate({ from: '/segments' });
  const search = useSearch({ from: '/segments' });
  const { data, error, refetch } = useSegments({
    size: MOST,
    ...(search.q ? { q: search.q } : {}),
    ...(search.kind ? { type: KIND_TYPES[search.kind] } : {}),
    ...(search.state ? { active: search.state === 'active' } : {}),
  });
  const go = (change: SegmentsSearch) => void navigate({ search: (before) => ({ ...before, ...change }), replace: true });
  const filtered = Object.keys(search).length > 0;
  return (
    <>
      <PageHeader
        title="Segments"
        description="Who counts as what, decided as events arrive."
        actions={
          <LinkButton to="/segments/new" leftSection={<IconPlus size={16} />}>
            New segment
          </LinkButton>
        }
      />
      <Panel title="All segments" description={data ? count(data.total, filtered) : 'Loading'} flush>
        <div className={classes.filters}>
          <Find value={search.q ?? ''} onChange={(q) => { go({ q: q || undefined }); }} />
          <Select
            aria-label="Kind"
            placeholder="Any kind"
            data={KIND_OPTIONS}
            value={search.kind ?? null}
            clearable
            size="sm"
            onChange={(kind) => { go({ kind: (kind ?? undefined) as SegmentsSearch['kind'] }); }}
          />
          <Select
            aria-label="Status"
            placeholder="Any status"
            data={STATE_OPTIONS}
            value={search.state ?? null}
            clearable
            size="sm"
            onChange={(state) => { go({ state: (state ?? undefined) as SegmentsSearch['state'] }); }}
          />
        </div>
        {error && !data && (
          <div className={classes.filters}>
            <ProblemAlert error={error} onRetry={() => void refetch()} />
          </div>
        )}
        {data && data.total > data.items.length && (
          <Alert color="gray" radius={0}>
            The first {formatCount(data.items.length)} of {plural(data.total, 'segment')} are shown; search to see others.
          </Alert>
        )}
        {!(error && !data) && <List segments={data?.items} empty={filtered ? <NothingFound /> : <NoSegments />} />}
      </Panel>
    </>
  );
}

const count = (total: number, filtered: boolean) => (filtered ? `${plural(total, 'segment')} found` : plural(total, 'segment'));

function Find({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  const [told, setTold] = useState(value);
  // The address may change by itself: by a link, or by going back.
  if (value !== told) {
    setTold(value);
    if (value !== text.trim()) setText(value);
  }
  const tell = useDebouncedCallback(onChange, 200);
  return (
    <TextInput
      type="search"
      aria-label="Search segments"
      placeholder="Search by name or description"
      leftSection={<IconSearch size={16} />}
      size="sm"
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        tell(event.currentTarget.value.trim());
      }}
    />
  );
}

const NoSegments = () => (
  <EmptyState
    icon={IconStack2}
    title="There are no segments yet"
    text="A segment says, as rules or as SQL, which users it is about. Who is in it is decided as events arrive."
    action={<LinkButton to="/segments/new">New segment</LinkButton>}
  />
);

const NothingFound = () => (
  <EmptyState icon={IconSearch} title="No segment is like that" text="Search for less, or look at all of them." action={<TextLink to="/segments">All segments</TextLink>} />
);
