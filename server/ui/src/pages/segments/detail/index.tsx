import { Alert, Skeleton, Stack, Tabs } from '@mantine/core';
import { IconHistory, IconInfoCircle, IconLayoutDashboard, IconPlayerPause, IconSitemap, IconStack2, IconUsers } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { asProblem, CHANGES, keys, useResultStream, useSegment, useStats, type ResultStream, type Segment } from '../../../api';
import { EmptyState, LinkButton, PageHeader, ProblemAlert } from '../../../components';
import { formatCompact } from '../../../lib/format';
import { Charts } from './Charts';
import { Definition } from './Definition';
import { Dependencies } from './Dependencies';
import { Figures } from './Figures';
import { Header } from './Header';
import { Members } from './Members';
import { Movement } from './Movement';
import { Plan } from './Plan';
import { plainReason } from '../words';
import type { Tab } from './search';
import { Versions } from './Versions';
import classes from './detail.module.css';

/** Changes that are shown. */
const KEPT = 80;

/** A segment: who is in it, how that came about, what it means and how it runs. */
export default function DetailPage() {
  const { name } = useParams({ from: '/segments/$name' });
  // What is about to be deleted is not asked for any more.
  const [leaving, setLeaving] = useState(false);
  const { data: segment, error, refetch } = useSegment(name, !leaving);
  if (error && asProblem(error).status === 404) return <Unknown name={name} />;
  if (!segment) {
    return (
      <>
        <PageHeader title={name} />
        {error ? <ProblemAlert error={error} onRetry={() => void refetch()} /> : <Loading />}
      </>
    );
  }
  return <Detail key={segment.id} segment={segment} leaving={leaving} onLeaving={setLeaving} />;
}

interface DetailProps {
  segment: Segment;
  leaving: boolean;
  onLeaving: (leaving: boolean) => void;
}

function Detail({ segment: read, leaving, onLeaving }: DetailProps) {
  const { name } = read;
  const { data: stats } = useStats(name, !leaving);
  // One size on the whole page.
  const segment = { ...read, size: stats?.size ?? read.size };
  const queries = useQueryClient();
  const stream = useResultStream({
    segment: name,
    keep: KEPT,
    before: KEPT,
    kinds: CHANGES,
    every: 1_000,
    paused: leaving,
    onResults: () => {
      void queries.invalidateQueries({ queryKey: keys.segment(name) });
    },
  });
  return (
    <>
      <Header segment={segment} onLeaving={onLeaving} />
      <Notes segment={segment} />
      {leaving ? <Loading /> : <Content segment={segment} stream={stream} />}
    </>
  );
}

interface ContentProps {
  segment: Segment;
  stream: ResultStream;
}

function Content({ segment, stream }: ContentProps) {
  const { name } = segment;
  const navigate = useNavigate();
  const { tab = 'overview' } = useSearch({ from: '/segments/$name' });
  return (
      <Tabs
        value={tab}
        keepMounted={false}
        onChange={(to) => void navigate({ to: '/segments/$name', params: { name }, search: to === 'overview' ? {} : { tab: to as Tab }, replace: true })}
      >
        <Tabs.List mb="md" className={classes.tabs}>
          <Tabs.Tab value="overview" leftSection={<IconLayoutDashboard size={16} />}>
            Overview
          </Tabs.Tab>
          <Tabs.Tab value="members" leftSection={<IconUsers size={16} />}>
            Members <span className={`num ${classes.count ?? ''}`}>{formatCompact(segment.size)}</span>
          </Tabs.Tab>
          <Tabs.Tab value="plan" leftSection={<IconSitemap size={16} />}>
            How it runs
          </Tabs.Tab>
          <Tabs.Tab value="versions" leftSection={<IconHistory size={16} />}>
            Versions
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="overview">
          <Stack gap="md">
            <Figures segment={segment} />
            <Charts segment={segment} />
            <div className={classes.columns}>
              <Definition segment={segment} />
              <Movement segment={segment} stream={stream} />
            </div>
            <Dependencies segment={segment} />
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="members">
          <Members segment={segment} />
        </Tabs.Panel>
        <Tabs.Panel value="plan">
          <Plan segment={segment} />
        </Tabs.Panel>
        <Tabs.Panel value="versions">
          <Versions segment={segment} />
        </Tabs.Panel>
      </Tabs>
  );
}

function Notes({ segment }: { segment: Segment }) {
  if (!segment.active) {
    return (
      <Alert color="gray" icon={<IconPlayerPause size={18} />} mb="md" radius="md" role="status">
        This segment is paused: it takes in no events, and nobody is in it.
      </Alert>
    );
  }
  return segment.warnings.map((warning) => (
    <Alert key={warning} color="orange" icon={<IconInfoCircle size={18} />} mb="md" radius="md" py="xs">
      <span className="wrap">{plainReason(warning).replace(/^./, (c) => c.toUpperCase())}.</span>
    </Alert>
  ));
}

function Unknown({ name }: { name: string }) {
  return (
    <>
      <PageHeader title="No such segment" />
      <EmptyState
        icon={IconStack2}
        title={`There is no segment ${name}`}
        text="It may have been renamed or deleted. Names are case-sensitive."
        action={
          <>
            <LinkButton to="/segments" variant="default" mr="xs">
              All segments
            </LinkButton>
            <LinkButton to="/segments/new">New segment</LinkButton>
          </>
        }
      />
    </>
  );
}

function Loading() {
  return (
    <Stack gap="md" aria-busy>
      <Skeleton height={36} radius="md" />
      <Skeleton height={92} radius="md" />
      <Skeleton height={260} radius="md" />
    </Stack>
  );
}
