import { SegmentedControl, Stack, Text } from '@mantine/core';
import { IconPlayerPause } from '@tabler/icons-react';
import { useState } from 'react';
import { type PlanGraphData, type Segment } from '../../../api';
import { CopyButton, EmptyState, LinkButton, Panel, PlanGraph, planOf, ProblemAlert, SegmentName } from '../../../components';
import { sharedSteps } from './dependencies';
import { plainReason } from '../words';
import { useOwnPlan } from './ownPlan';
import classes from './detail.module.css';

interface Look {
  graph: PlanGraphData;
  at: number;
}

/** The plan with the one before, for rows a second. */
function useLooks(segment: Segment) {
  const { data, error, dataUpdatedAt } = useOwnPlan(segment);
  const [looks, setLooks] = useState<{ now?: Look; before?: Look }>({});
  if (data?.graph && looks.now?.at !== dataUpdatedAt) setLooks({ now: { graph: data.graph, at: dataUpdatedAt }, before: looks.now });
  return { ...looks, plan: data, error };
}

/** How the segment runs: the part of the program that is its own, and what it shares. */
export function Plan({ segment }: { segment: Segment }) {
  const { now, before, plan, error } = useLooks(segment);
  if (!segment.active) {
    return (
      <Panel title="Plan">
        <EmptyState icon={IconPlayerPause} title="It does not run" text="A paused segment has no part in the program. Resume it to see how it runs." />
      </Panel>
    );
  }
  const shared = sharedSteps(segment.name, now?.graph);
  const graph = now && planOf(now, before);
  return (
    <Stack gap="md">
      <Panel
        title="Plan"
        description={segment.emitReason ? `Emits ${segment.emit === 'FINAL' ? 'at the close of a window' : 'at once'}: ${plainReason(segment.emitReason)}.` : undefined}
        actions={
          <LinkButton to="/explain" variant="default" size="xs">
            Whole program
          </LinkButton>
        }
      >
        <ProblemAlert error={plan ? null : error} />
        <PlanGraph label={`Plan of ${segment.name}`} nodes={graph?.nodes ?? []} edges={graph?.edges ?? []} height={360} />
      </Panel>
      <Panel title="What it shares" description="Work that is done once for several segments." flush>
        {shared.length === 0 ? (
          <Text size="md" c="dimmed" px="md" pb="md">
            {segment.readBy.length > 0 ? 'Only with the segments that read it.' : 'Nothing: no other segment filters and aggregates in the same way.'}
          </Text>
        ) : (
          <ul className={classes.steps}>
            {shared.map((s) => (
              <li key={s.id}>
                <Text fw={550} className="wrap">
                  {plainReason(s.step)}
                </Text>
                <div className={classes.links}>
                  <span>with</span>
                  {s.with.slice(0, 12).map((name) => (
                    <SegmentName key={name} name={name} />
                  ))}
                  {s.with.length > 12 && <span>and {s.with.length - 12} more</span>}
                </div>
              </li>
            ))}
          </ul>
        )}
      </Panel>
      <AsText segment={segment} logical={plan?.logicalPlan ?? undefined} />
    </Stack>
  );
}

type Form = 'logical' | 'physical';

/** The plan as text: what is asked for, or what is done. */
function AsText({ segment, logical = '' }: { segment: Segment; logical?: string }) {
  const [form, setForm] = useState<Form>('logical');
  const physical = useOwnPlan(segment, 'tree', form === 'physical');
  const text = form === 'logical' ? logical : (physical.data?.plan ?? '');
  return (
    <Panel
      title="As text"
      actions={
        <>
          <SegmentedControl
            size="xs"
            aria-label="Which plan"
            value={form}
            onChange={(value) => {
              setForm(value as Form);
            }}
            data={[
              { value: 'logical', label: 'Logical' },
              { value: 'physical', label: 'Physical' },
            ]}
          />
          <CopyButton value={text} what="the plan" />
        </>
      }
      flush
    >
      <pre className={`mono ${classes.text ?? ''}`} tabIndex={0} aria-label={form === 'logical' ? 'Logical plan' : 'Physical plan'}>
        {text || 'Loading'}
      </pre>
    </Panel>
  );
}
