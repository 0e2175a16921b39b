import { Button, Checkbox, Code, Group, Stack, Text } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { IconPlayerPlay } from '@tabler/icons-react';
import { useRef, useState } from 'react';
import { asProblem, explainText, textOf, useAllSegments, type Plan, type Style } from '../../api';
import { CopyButton, Panel, ProblemAlert, SqlEditor, type SqlEditorHandle } from '../../components';
import { AsText } from './AsText';
import classes from './explain.module.css';
import { PlanView, type Look } from './PlanView';

const EXAMPLE = `SELECT user_id, sum(value) AS value
FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
WHERE event_type = 'purchase'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 500`;

interface Explained {
  sql: string;
  analyze: boolean;
  plan: Plan;
  at: number;
}

/** How a text would run, before there is a segment of it. */
export function Statement() {
  const [sql, setSql] = useState(EXAMPLE);
  const [analyze, setAnalyze] = useState(true);
  const editor = useRef<SqlEditorHandle>(null);
  const { data: segments } = useAllSegments();
  const explain = useMutation({
    mutationFn: async (): Promise<Explained> => ({ sql, analyze, plan: await explainText(sql, 'json', analyze), at: Date.now() }),
  });
  const problem = explain.error ? asProblem(explain.error) : undefined;
  const errors = problem ? (problem.errors?.length ? problem.errors : [{ ...problem, message: problem.detail }]) : [];
  const run = () => {
    if (sql.trim() !== '') explain.mutate();
  };
  return (
    <Stack gap="md">
      <Panel title="Statement" description="A query, a CREATE SEGMENT, SEGMENT name, or ALL SEGMENTS. Nothing is changed.">
        <Stack gap="sm">
          <SqlEditor
            ref={editor}
            label="Statement to explain"
            value={sql}
            onChange={(text) => {
              setSql(text);
              explain.reset();
            }}
            errors={errors}
            segments={segments?.map((s) => s.name) ?? []}
            onSubmit={run}
          />
          <ProblemAlert error={explain.error} onGoTo={(line, column) => editor.current?.goTo(line, column)} />
          <Group gap="md">
            <Button leftSection={<IconPlayerPlay size={16} />} onClick={run} loading={explain.isPending} disabled={sql.trim() === ''}>
              Explain
            </Button>
            <Checkbox
              label="Run it over the events that are kept, for rows and times"
              checked={analyze}
              onChange={(event) => {
                setAnalyze(event.currentTarget.checked);
              }}
            />
          </Group>
        </Stack>
      </Panel>
      {explain.data && <Result key={explain.data.at} {...explain.data} />}
    </Stack>
  );
}

function Result({ sql, analyze, plan, at }: Explained) {
  const [look, setLook] = useState<Look>({});
  const [format, setFormat] = useState<Style>('tree');
  const text = useStatementText(sql, format, analyze);
  if (!plan.graph) return null;
  return (
    <>
      <Panel title="How it would run" description={plan.emitReason ? `Results ${plan.emit === 'FINAL' ? 'when the window closes' : 'at once'}, as ${plan.emitReason}.` : 'Together with what runs now.'}>
        <PlanView
          plan={{ graph: plan.graph, at }}
          {...look}
          known={false}
          onLook={(change) => {
            setLook({ ...look, ...change });
          }}
        />
      </Panel>
      {plan.logicalPlan && (
        <Panel title="Logical plan" description="As the SQL was understood, before anything is shared." actions={<CopyButton value={plan.logicalPlan} what="the logical plan" />}>
          <pre className={classes.text} tabIndex={0} aria-label="The logical plan">
            {plan.logicalPlan}
          </pre>
        </Panel>
      )}
      <AsText
        description={analyze ? 'With rows and times over the events that are kept.' : 'Without having been run.'}
        format={format}
        onFormat={setFormat}
        text={text}
      />
      <Text size="sm" c="dimmed">
        From a terminal: <Code>cohort explain FILE.sql</Code>
      </Text>
    </>
  );
}

const useStatementText = (sql: string, format: Style, analyze: boolean) =>
  useQuery({
    queryKey: ['explain', 'statement', sql, format, analyze],
    queryFn: async ({ signal }) => textOf(await explainText(sql, format, analyze, signal)),
    staleTime: Infinity,
    refetchOnWindowFocus: false,
  });
