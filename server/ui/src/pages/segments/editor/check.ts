// What the service says of a segment while it is being written.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { answer, client } from '../../../api/client';
import { asProblem, explainText, ProblemError, type PlanGraphData, type Problem, type SegmentForm, type SegmentInput, type TextError } from '../../../api';
import { queryOfRules } from './fallback';

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

type Answer = { errors: TextError[] } | Checked;

export type CheckResult = { for: string; ok: true; found: Checked } | { for: string; ok: false; errors: TextError[] };

const errorsOf = (problem: Problem): TextError[] =>
  problem.errors?.length ? problem.errors : [{ message: problem.detail, line: problem.line, column: problem.column, hint: problem.hint }];

let documented: Promise<boolean> | undefined;
const hasCheck = () =>
  (documented ??= answer<{ paths: object }>(client.GET('/api/v1/openapi.json' as never) as never).then((d) => '/api/v1/segments/check' in d.paths));

async function ask(meaning: SegmentInput, id: string | undefined, signal: AbortSignal): Promise<Answer> {
  if (await hasCheck()) {
    return await answer<Answer>(client.POST('/api/v1/segments/check' as never, { body: { ...meaning, ...(id ? { id } : {}) }, signal } as never) as never);
  }
  const sql = meaning.sql ?? queryOfRules(meaning);
  const plan = await explainText(sql, 'json', false, signal);
  const form = meaning.sql === undefined ? (meaning as SegmentForm) : null;
  return { sql, complete: true, form, emit: plan.emit ?? '', emitReason: plan.emitReason ?? '', window: '', warnings: [], graph: plan.graph ?? null, reads: [], shares: [] };
}

/** Checks what is written as soon as one pauses; `meaning` is null while there is nothing to check. */
export function useCheck(meaning: SegmentInput | null, id: string | undefined) {
  const text = meaning ? JSON.stringify(meaning) : '';
  const [settled] = useDebouncedValue(text, 250);
  const { data, error, isFetching } = useQuery({
    queryKey: ['check', id ?? null, settled],
    enabled: settled !== '',
    queryFn: async ({ signal }): Promise<CheckResult> => {
      try {
        const found = await ask(JSON.parse(settled) as SegmentInput, id, signal);
        return 'errors' in found && found.errors.length > 0 ? { for: settled, ok: false, errors: found.errors } : { for: settled, ok: true, found: found as Checked };
      } catch (problem) {
        if (problem instanceof ProblemError && problem.problem.status === 400) return { for: settled, ok: false, errors: errorsOf(asProblem(problem)) };
        throw problem;
      }
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
