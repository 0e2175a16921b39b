import { Skeleton, Stack } from '@mantine/core';
import { useParams, useSearch } from '@tanstack/react-router';
import { useMemo } from 'react';
import { useAllSegments, useSegment, useVersions } from '../../../api';
import { PageHeader, ProblemAlert } from '../../../components';
import { Editor } from './Editor';

/** Makes a segment, or edits one. */
export default function EditorPage() {
  const { name } = useParams({ strict: false });
  return name === undefined ? <New /> : <Edit key={name} name={name} />;
}

function useNames() {
  const { data: segments, error, refetch } = useAllSegments();
  const names = useMemo(() => new Map((segments ?? []).map((s) => [s.id, s.name])), [segments]);
  return { segments, names, error, refetch };
}

function New() {
  const { segments, names, error, refetch } = useNames();
  if (!segments) return <Loading title="New segment" error={error} onRetry={refetch} />;
  return <Editor key="new" segment={undefined} segments={segments} names={names} />;
}

function Edit({ name }: { name: string }) {
  const { segments, names, error, refetch } = useNames();
  const { version } = useSearch({ strict: false });
  const { data: segment, error: noSegment, refetch: again } = useSegment(name);
  const { data: versions, error: noVersions, refetch: onceMore } = useVersions(name, version !== undefined);
  if (!segment || !segments || (version !== undefined && !versions)) {
    return <Loading title={`Edit ${name}`} error={noSegment ?? noVersions ?? error} onRetry={noSegment ? again : noVersions ? onceMore : refetch} />;
  }
  const from = version === undefined ? undefined : { version, change: versions?.find((c) => c.version === version) };
  return <Editor key={`${segment.id} ${version ?? 'newest'}`} segment={segment} segments={segments} names={names} from={from} />;
}

function Loading({ title, error, onRetry }: { title: string; error: unknown; onRetry: () => unknown }) {
  return (
    <>
      <PageHeader title={title} />
      {error ? (
        <ProblemAlert error={error} onRetry={() => void onRetry()} />
      ) : (
        <Stack aria-busy>
          <Skeleton height={60} radius="md" />
          <Skeleton height={280} radius="md" />
          <Skeleton height={160} radius="md" />
        </Stack>
      )}
    </>
  );
}
