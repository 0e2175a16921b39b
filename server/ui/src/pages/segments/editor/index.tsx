import { useParams } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { explainText, useAllSegments, type Problem, asProblem } from '../../../api';
import { PageHeader, ProblemAlert, SqlEditor } from '../../../components';

export default function EditorPage() {
  const { name } = useParams({ strict: false });
  const { data: segments } = useAllSegments();
  const [sql, setSql] = useState("SELECT user_id, sum(value) AS value\nFROM TUMBLE(events, event_time, INTERVAL '5 minutes')\nWHERE event_typ = 'purchase'\nGROUP BY user_id, window_start, window_end\nHAVING sum(value) > 500");
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      explainText(sql, 'json', false, stop.signal).then(
        () => {
          setProblem(null);
        },
        (error: unknown) => {
          if (!stop.signal.aborted) setProblem(asProblem(error));
        },
      );
    }, 300);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [sql]);
  const errors = problem ? (problem.errors?.length ? problem.errors : [{ message: problem.detail, line: problem.line, column: problem.column, hint: problem.hint }]) : [];
  return (
    <>
      <PageHeader title={name ? `Edit ${name}` : 'New segment'} description="As rules or as SQL." />
      <SqlEditor label="SQL" value={sql} onChange={setSql} errors={errors} segments={segments?.map((s) => s.name)} />
      <ul>{errors.map((e) => <li key={e.message}>{e.message}</li>)}</ul>
      <ProblemAlert error={null} />
    </>
  );
}
