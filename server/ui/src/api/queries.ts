// A hook for each endpoint. Keys begin with the noun, so that a change can make a whole noun new.
import { keepPreviousData, queryOptions, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { answer, client } from './client';
import { useMemo } from 'react';
import { record, useSamples, withHistory, type Sample } from './history';
import { ProblemError } from './problem';
import type {
  Change,
  HistoryPoint,
  KnownUser,
  Letter,
  Me,
  Members,
  Page,
  Plan,
  Preview,
  PreviewInput,
  Segment,
  SegmentInput,
  SegmentResult,
  ServiceStatus,
  Stats,
  Style,
  TopicInfo,
  UserEvent,
  UserSegments,
  Why,
} from './types';

/** How often what changes by itself is read. */
const LIVE = 2_000;
const CALM = 5_000;

export const keys = {
  status: ['status'] as const,
  segments: ['segments'] as const,
  segment: (name: string) => ['segments', 'one', name] as const,
  users: ['users'] as const,
  explain: ['explain'] as const,
  events: ['events'] as const,
};

// Status

export const statusQuery = queryOptions({
  queryKey: keys.status,
  queryFn: async ({ signal }) => {
    const status = await answer<ServiceStatus>(client.GET('/api/v1/status', { signal }));
    record(status);
    return status;
  },
  refetchInterval: LIVE,
  staleTime: 0,
  retry: false,
});

export const useStatus = () => useQuery(statusQuery);

/** Whether the service does not answer any more. */
export function useLost(): boolean {
  const { error } = useStatus();
  return error instanceof ProblemError && error.unreachable;
}

/** How the service stood before the page was opened, and while it was out of sight or reach. */
export const historyQuery = queryOptions({
  queryKey: ['history'],
  queryFn: async ({ signal }) => (await answer<{ points: HistoryPoint[] }>(client.GET('/api/v1/status/history', { signal }))).points,
  staleTime: Infinity,
  refetchOnMount: 'always',
  refetchOnWindowFocus: 'always',
});

/** Samples of the last quarter of an hour, oldest first. */
export function useStatusHistory(): readonly Sample[] {
  const live = useSamples();
  const { data: points } = useQuery(historyQuery);
  return useMemo(() => withHistory(live, points ?? []), [live, points]);
}

/** The configuration in force, without secrets. */
export const useConfig = () =>
  useQuery({ queryKey: ['config'], queryFn: ({ signal }) => answer<Record<string, unknown>>(client.GET('/api/v1/config', { signal })), staleTime: Infinity });

/** Who one is to the service. */
export const useMe = () => useQuery({ queryKey: ['me'], queryFn: ({ signal }) => answer<Me>(client.GET('/api/v1/me', { signal })), staleTime: 60_000 });

// Segments

export interface SegmentFilter {
  active?: boolean;
  type?: 'INDEPENDENT' | 'DERIVED' | 'SQL';
  q?: string;
  page?: number;
  size?: number;
}

const isMissing = (error: Error | null) => error instanceof ProblemError && error.problem.status === 404;

/** A page of segments as they are now. */
export const useSegments = (filter: SegmentFilter = {}) =>
  useQuery({
    queryKey: [...keys.segments, 'list', filter],
    queryFn: ({ signal }) => answer<Page>(client.GET('/api/v1/segments', { params: { query: filter }, signal })),
    refetchInterval: CALM,
    placeholderData: keepPreviousData,
  });

/** Up to 1000 segments. */
export const allSegmentsQuery = queryOptions({
  queryKey: [...keys.segments, 'all'],
  queryFn: async ({ signal }) => (await answer<Page>(client.GET('/api/v1/segments', { params: { query: { size: 1000 } }, signal }))).items,
  refetchInterval: CALM,
  staleTime: LIVE,
});

export const useAllSegments = (enabled = true) => useQuery({ ...allSegmentsQuery, enabled });

export const useSegment = (name: string, enabled = true) =>
  useQuery({
    enabled,
    queryKey: keys.segment(name),
    queryFn: ({ signal }) => answer<Segment>(client.GET('/api/v1/segments/{id}', { params: { path: { id: name } }, signal })),
    // What is not there is not asked for again and again.
    refetchInterval: ({ state }) => (isMissing(state.error) ? false : CALM),
  });

export const useStats = (name: string, enabled = true) =>
  useQuery({
    enabled,
    queryKey: [...keys.segment(name), 'stats'],
    queryFn: ({ signal }) => answer<Stats>(client.GET('/api/v1/segments/{id}/stats', { params: { path: { id: name } }, signal })),
    refetchInterval: CALM,
  });

export interface MembersSlice {
  limit?: number;
  cursor?: string;
  /** How ids begin. */
  q?: string;
}

export const useMembers = (name: string, slice: MembersSlice = {}) =>
  useQuery({
    queryKey: [...keys.segment(name), 'members', slice],
    queryFn: ({ signal }) => answer<Members>(client.GET('/api/v1/segments/{id}/members', { params: { path: { id: name }, query: slice }, signal })),
    refetchInterval: CALM,
    placeholderData: keepPreviousData,
  });

/** All members as CSV. */
export const membersCsv = (name: string) =>
  answer<Blob>(client.GET('/api/v1/segments/{id}/members', { params: { path: { id: name }, query: { format: 'csv' } }, parseAs: 'blob' }));

export const useVersions = (name: string, enabled = true) =>
  useQuery({
    enabled,
    queryKey: [...keys.segment(name), 'versions'],
    queryFn: ({ signal }) => answer<Change[]>(client.GET('/api/v1/segments/{id}/versions', { params: { path: { id: name } }, signal })),
  });

/** After a change, everything that shows segments is read again. */
function useAfterChange() {
  const queries = useQueryClient();
  return () => Promise.all([keys.segments, keys.status, keys.explain].map((queryKey) => queries.invalidateQueries({ queryKey })));
}

/** `active: false` makes one that does not run yet. */
export const useCreateSegment = () =>
  useMutation({
    mutationFn: (body: SegmentInput & { active?: boolean }) => answer<Segment>(client.POST('/api/v1/segments', { body })),
    onSuccess: useAfterChange(),
  });

/** `version`, when given, must still be the newest (412 otherwise). */
export const useReplaceSegment = () =>
  useMutation({
    mutationFn: ({ name, body, version }: { name: string; body: SegmentInput; version?: number }) =>
      answer<Segment>(
        client.PUT('/api/v1/segments/{id}', {
          params: { path: { id: name } },
          body,
          headers: version === undefined ? {} : { 'If-Match': `"${version}"` },
        }),
      ),
    onSuccess: useAfterChange(),
  });

export const useSetActive = () => {
  const queries = useQueryClient();
  const after = useAfterChange();
  return useMutation({
    mutationFn: ({ name, active }: { name: string; active: boolean }) =>
      answer<Segment>(client.PATCH('/api/v1/segments/{id}/status', { params: { path: { id: name } }, body: { active } })),
    onSuccess: (segment, { name }) => {
      queries.setQueryData(keys.segment(name), segment);
      return after();
    },
  });
};

/** A problem of status 409 has the dependants in `segments`. What is gone is not read again: its page is left. */
export const useDeleteSegment = () => {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (name: string) => answer<undefined>(client.DELETE('/api/v1/segments/{id}', { params: { path: { id: name } } })),
    onSuccess: (_, name) => {
      const gone = (queryKey: readonly unknown[]) => keys.segment(name).every((part, i) => queryKey[i] === part);
      void queries.invalidateQueries({ predicate: ({ queryKey }) => !gone(queryKey) && ['segments', 'status', 'explain'].includes(String(queryKey[0])) });
    },
  });
};

export const usePreview = () =>
  useMutation({
    mutationFn: (body: SegmentInput & Pick<PreviewInput, 'from' | 'to' | 'against'>) =>
      answer<Preview>(client.POST('/api/v1/segments/preview', { body: body as unknown as PreviewInput })),
  });

// Plans

export const useExplain = (segment?: string, format: Style = 'json', enabled = true) =>
  useQuery({
    enabled,
    queryKey: [...keys.explain, segment ?? null, format],
    queryFn: ({ signal }) => answer<Plan>(client.GET('/api/v1/explain', { params: { query: { segment, format } }, signal })),
    refetchInterval: LIVE,
    placeholderData: keepPreviousData,
  });

/** How a text would run; its problem has every error with line and column, so it also checks a text. */
export const explainText = (sql: string, format: Style = 'json', analyze = false, signal?: AbortSignal) =>
  answer<Plan>(client.POST('/api/v1/explain', { body: { sql, format, analyze }, signal }));

// Users

export const useUserSegments = (userId: string) =>
  useQuery({
    queryKey: [...keys.users, userId, 'segments'],
    queryFn: ({ signal }) => answer<UserSegments>(client.GET('/api/v1/users/{userId}/segments', { params: { path: { userId } }, signal })),
    refetchInterval: LIVE,
    enabled: userId !== '',
  });

export const useWhy = (userId: string, segment: string, enabled = true) =>
  useQuery({
    queryKey: [...keys.users, userId, 'why', segment],
    queryFn: ({ signal }) => answer<Why>(client.GET('/api/v1/users/{userId}/segments/{segment}/why', { params: { path: { userId, segment } }, signal })),
    refetchInterval: LIVE,
    enabled: enabled && userId !== '' && segment !== '',
  });

export interface UserMove {
  segment: string;
  event: 'entered' | 'exited';
  /** Event time, ms. */
  at: number;
  value: number | null;
}

/** Entering and leaving of a user, newest first, as far back as results are kept. */
export const useUserTimeline = (userId: string, limit = 200) =>
  useQuery({
    queryKey: [...keys.users, userId, 'timeline', limit],
    queryFn: async ({ signal }) => {
      const results = await answer<SegmentResult[]>(client.GET('/api/v1/users/{userId}/timeline', { params: { path: { userId }, query: { limit } }, signal }));
      return results.map((r) => ({ segment: r.segmentId, event: r.event, at: r.timestamp, value: r.value ?? null }) as UserMove);
    },
    refetchInterval: CALM,
    enabled: userId !== '',
  });

/** The newest events of a user among those that are kept. */
export const useUserEvents = (userId: string, limit = 100) =>
  useQuery({
    queryKey: [...keys.users, userId, 'events', limit],
    queryFn: ({ signal }) => answer<UserEvent[]>(client.GET('/api/v1/users/{userId}/events', { params: { path: { userId }, query: { limit } }, signal })),
    refetchInterval: CALM,
    enabled: userId !== '',
  });

/** Users whose id begins so, in the order of ids, and how many segments they are in. */
export const useUserSearch = (q: string, limit = 12) =>
  useQuery({
    queryKey: [...keys.users, 'search', q, limit],
    queryFn: ({ signal }) => answer<KnownUser[]>(client.GET('/api/v1/users', { params: { query: { q, limit } }, signal })),
    placeholderData: keepPreviousData,
    enabled: q !== '',
  });

// Events

export const useTopics = () =>
  useQuery({
    queryKey: [...keys.events, 'topics'],
    queryFn: ({ signal }) => answer<TopicInfo[]>(client.GET('/api/v1/events/topics', { signal })),
    refetchInterval: CALM,
  });

export const useDeadLetters = (filter: { limit?: number; reason?: string; topic?: string } = {}) =>
  useQuery({
    queryKey: [...keys.events, 'dead-letters', filter],
    queryFn: ({ signal }) => answer<Letter[]>(client.GET('/api/v1/events/dead-letters', { params: { query: filter }, signal })),
    refetchInterval: CALM,
    placeholderData: keepPreviousData,
  });

export const useSendEvents = () =>
  useMutation({
    mutationFn: ({ events, topic }: { events: UserEvent[]; topic?: string }) =>
      answer<{ accepted: number; rejected: { index: number; reason: string }[] }>(
        client.POST('/api/v1/events', { params: { query: { topic } }, body: events as never }),
      ),
  });

export { ProblemError };
