import { SimpleGrid, Text } from '@mantine/core';
import { useMemo } from 'react';
import { rates, type Sample } from '../../api';
import { LiveChart, Panel } from '../../components';
import { formatCompact, formatDuration, formatRate } from '../../lib/format';
import { recentMean, smooth } from '../../lib/series';

/** Whole units on the axis: `2 s` rather than `2,000 ms`. */
const axisDuration = (ms: number | null) => formatDuration(ms);

export function Charts({ history }: { history: readonly Sample[] }) {
  const charts = useMemo(() => {
    const last = history.at(-1);
    const [events, results] = [rates(history, (s) => s.events), rates(history, (s) => s.results)];
    return [
      { title: 'Events', what: 'read a second', values: smooth(events), now: formatRate(recentMean(events)), format: formatRate, color: '--app-chart-1', atLeast: 1 },
      { title: 'Results', what: 'emitted a second', values: smooth(results), now: formatRate(recentMean(results)), format: formatRate, color: '--app-chart-2', atLeast: 1 },
      { title: 'Consumer lag', what: 'records not read yet', values: history.map((s) => s.lag), now: formatCompact(last?.lag), format: formatCompact, color: '--app-chart-3', atLeast: 10 },
      {
        title: 'Watermark delay',
        what: 'event time behind the clock',
        values: history.map((s) => s.watermarkDelay),
        now: last?.watermarkDelay == null ? 'idle' : formatDuration(last.watermarkDelay),
        format: axisDuration,
        color: '--app-chart-4',
        atLeast: 1_000,
      },
    ];
  }, [history]);
  const times = useMemo(() => history.map((s) => s.at), [history]);
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
      {charts.map(({ title, what, values, now, format, color, atLeast }) => (
        <Panel
          key={title}
          title={title}
          description={what}
          actions={
            <Text className="num" fw={640} fz="1.25rem">
              {now}
            </Text>
          }
        >
          <LiveChart label={title} times={times} series={[{ label: title, values, color }]} format={format} height={148} atLeast={atLeast} span={60_000} sync="dashboard" />
        </Panel>
      ))}
    </SimpleGrid>
  );
}
