import { Skeleton } from '@mantine/core';
import { lazy, Suspense } from 'react';
import type { LiveChartProps } from './UPlotChart';

export type { ChartSeries, LiveChartProps } from './UPlotChart';

const UPlotChart = lazy(() => import('./UPlotChart'));

/** Lines over time that grow while one looks. uPlot is loaded with the first of them. */
export function LiveChart(props: LiveChartProps) {
  return (
    <Suspense fallback={<Skeleton height={props.height ?? 160} radius="sm" />}>
      <UPlotChart {...props} />
    </Suspense>
  );
}
