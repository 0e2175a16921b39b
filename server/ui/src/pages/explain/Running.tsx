import { Group, Skeleton, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { useProgram, useProgramText, type Style } from '../../api';
import { Panel, ProblemAlert, type MeasuredPlan } from '../../components';
import { formatCompact, formatRate } from '../../lib/format';
import { AsText } from './AsText';
import classes from './explain.module.css';
import { formatLoad } from './load';
import { PlanView, type Look } from './PlanView';
import { effortOf, summaryOf, titleOf } from './program';

/** Rates are over so long, ms: calm enough to be read. */
const OVER = 10_000;

/** What is now, and what was some seconds before. */
function useLooks(now: MeasuredPlan | undefined): MeasuredPlan | undefined {
  const [looks, setLooks] = useState<readonly MeasuredPlan[]>([]);
  if (now && looks.at(-1)?.at !== now.at) setLooks([...looks.filter((look) => now.at - look.at < OVER), now]);
  return looks.length > 1 ? looks[0] : undefined;
}

/** All that runs now. */
export function Running({ look, onLook }: { look: Look; onLook: (change: Look) => void }) {
  const { data, error, dataUpdatedAt, refetch } = useProgram();
  const plan = data?.graph && { graph: data.graph, at: dataUpdatedAt };
  const before = useLooks(plan);
  const [format, setFormat] = useState<Style>('tree');
  // The text of a segment that does not run would be refused.
  const segment = plan?.graph.nodes.some((n) => n.kind === 'segment' && titleOf(n) === look.segment) ? look.segment : undefined;
  const text = useProgramText(format, segment, plan !== undefined);
  if (!plan) return error ? <ProblemAlert error={error} onRetry={() => void refetch()} /> : <Skeleton height={560} radius="lg" />;
  return (
    <Stack gap="md">
      <Numbers plan={plan} before={before} />
      <Panel title="What runs" description="Boxes with a stack behind them are used by several segments; the bar is the share of the time.">
        <PlanView plan={plan} before={before} {...look} onLook={onLook} known />
      </Panel>
      <AsText
        description={segment ? `What ${segment} reads, with rows and times so far.` : 'All that runs, with rows and times so far.'}
        format={format}
        onFormat={setFormat}
        text={text}
      />
    </Stack>
  );
}

function Numbers({ plan, before }: { plan: MeasuredPlan; before: MeasuredPlan | undefined }) {
  const { counts, note } = summaryOf(plan.graph.summary);
  const efforts = plan.graph.nodes.map((n) => effortOf(n, plan.at, before));
  const scan = efforts[plan.graph.nodes.findIndex((n) => n.kind === 'scan')];
  const loads = efforts.flatMap((e) => (e?.load == null ? [] : [e.load]));
  const load = loads.reduce((sum, l) => sum + l, 0);
  return (
    <div>
      <Group component="ul" gap="xs" className={classes.counts} aria-label="What runs, in numbers">
        {counts.filter(([n]) => n > 0).map(([n, what]) => (
          <li key={what}>
            <b className="num">{formatCompact(n)}</b> {what}
          </li>
        ))}
        <li data-live>
          <b className="num">{scan?.rowRate == null ? '–' : formatRate(scan.rowRate)}</b> read
        </li>
        <li data-live>
          <b className="num">{loads.length === 0 ? '–' : formatLoad.share(load)}</b> of a core
        </li>
      </Group>
      {note && (
        <Text size="sm" c="dimmed" mt={6}>
          {`Only ${note}.`}
        </Text>
      )}
    </div>
  );
}
