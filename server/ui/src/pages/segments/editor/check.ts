// What the service says of a segment while it is being written.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { answer, client } from '../../../api/client';
import type { PlanGraphData, SegmentForm, SegmentInput, TextError } from '../../../api';

export interface Checked {
  sql: string;
  /** Whether `sql` alone is the segment. */
  complete: boolean;
  form: SegmentForm | null;
  emit: string;
  emitReason: string;
  window: string;
  warnings: string[];
  graph: PlanGraphData | null;
  reads: string[];
  /** Segments that it shares work with. */
  shares: string[];
}

export type CheckResult = { for: string; ok: true; found: Checked } | { for: string; ok: false; errors: TextError[] };

/** Wrong texts are answers too, as they are what one has while typing. */
type Answer = ({ ok: true } & Checked) | { ok: false; errors: TextError[] };

const ask = (meaning: SegmentInput, id: string | undefined, signal: AbortSignal) =>
  answer<Answer>(client.POST('/api/v1/segments/check', { body: { ...meaning, ...(id ? { id } : {}) }, signal }));

/** Checks what is written as soon as one pauses; `meaning` is null while there is nothing to check. */
export function useCheck(meaning: SegmentInput | null, id: string | undefined) {
  const text = meaning ? JSON.stringify(meaning) : '';
  const [settled] = useDebouncedValue(text, 250);
  const { data, error, isFetching } = useQuery({
    queryKey: ['check', id ?? null, settled],
    enabled: settled !== '',
    queryFn: async ({ signal }): Promise<CheckResult> => {
      const found = await ask(JSON.parse(settled) as SegmentInput, id, signal);
      return found.ok ? { for: settled, ok: true, found } : { for: settled, ok: false, errors: found.errors };
    },
    staleTime: 10_000,
    placeholderData: keepPreviousData,
  });
  const current = data?.for === text && text !== '' ? data : null;
  return {
    /** Of what is written now; `null` while it is being asked. */
    result: current,
    /** The newest that was right, to be shown meanwhile. */
    last: data?.ok ? data.found : null,
    checking: text !== '' && (isFetching || !current) && !error,
    failure: error,
  };
}
