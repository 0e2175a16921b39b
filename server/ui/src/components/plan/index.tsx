import { Skeleton } from '@mantine/core';
import { lazy, Suspense } from 'react';
import type { PlanGraphProps } from './FlowGraph';

export type { PlanGraphProps } from './FlowGraph';
export { planOf, readsOf, speed, type MeasuredPlan, type PlanBadge, type PlanEdge, type PlanNode } from './plan';

const FlowGraph = lazy(() => import('./FlowGraph'));

/** A plan as a graph, laid out by itself, with the same as text. React Flow is loaded with the first of them. */
export function PlanGraph(props: PlanGraphProps) {
  return (
    <Suspense fallback={<Skeleton height={props.height ?? 420} radius="md" />}>
      <FlowGraph {...props} />
    </Suspense>
  );
}
