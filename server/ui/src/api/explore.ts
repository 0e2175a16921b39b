// Hooks of the pages that look into the service: plans as text, and dead letters.
import { useMutation, useQuery } from '@tanstack/react-query';
import { answer, client } from './client';
import { keys } from './queries';
import type { LetterCount, Plan, Style } from './types';

/** What runs, with rows and times; large programs are read less often. */
export const useProgram = () =>
  useQuery({
    queryKey: [...keys.explain, 'program'],
    queryFn: ({ signal }) => answer<Plan>(client.GET('/api/v1/explain', { params: { query: { format: 'json' } }, signal })),
    refetchInterval: ({ state }) => ((state.data?.graph?.nodes.length ?? 0) > 3_000 ? 10_000 : 2_000),
    // Nodes are made anew by each answer anyway, and there may be thousands.
    structuralSharing: false,
  });

/** A plan as text, as it was when it was asked for: it does not move while one reads it. */
export const useProgramText = (format: Style, segment: string | undefined, enabled: boolean) =>
  useQuery({
    enabled,
    queryKey: [...keys.explain, 'text', format, segment ?? null],
    queryFn: async ({ signal }) => {
      const query = { format, segment };
      // DOT comes as it is, the rest within JSON.
      if (format === 'graphviz') return answer<string>(client.GET('/api/v1/explain', { params: { query }, parseAs: 'text', signal }));
      return textOf(await answer<Plan>(client.GET('/api/v1/explain', { params: { query }, signal })));
    },
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });

/** The text of a plan, whichever way it was asked for. */
export const textOf = (plan: Plan): string => plan.plan ?? JSON.stringify(plan.graph ?? {}, null, 2);

/** How many dead letters are kept of each reason and topic. */
export const useDeadLetterCounts = () =>
  useQuery({
    queryKey: [...keys.events, 'dead-letters', 'reasons'],
    queryFn: ({ signal }) => answer<LetterCount[]>(client.GET('/api/v1/events/dead-letters/reasons', { signal })),
    refetchInterval: 5_000,
  });

/** Sends one record as the text that it is, also when it is wrong. */
export const useSendRecord = () =>
  useMutation({
    mutationFn: ({ text, topic }: { text: string; topic?: string }) =>
      answer<{ accepted: number; rejected: { index: number; reason: string }[] }>(
        client.POST('/api/v1/events', { params: { query: { topic } }, body: text as never, bodySerializer: (body) => body as unknown as string }),
      ),
  });
