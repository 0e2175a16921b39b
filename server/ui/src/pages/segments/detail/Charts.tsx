import { SegmentedControl, SimpleGrid, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { useStats, useStatus, type Segment } from '../../../api';
import { LiveChart, Panel, ProblemAlert } from '../../../components';
import { formatCompact } from '../../../lib/format';
import { minuteSeries } from './minutes';

const MINUTE = 60_000;
const SPANS = {
  '30m': { span: 30 * MINUTE, step: MINUTE, per: 'a minute' },
  '3h': { span: 180 * MINUTE, step: 5 * MINUTE, per: 'in 5 minutes' },
  '24h': { span: 1440 * MINUTE, step: 30 * MINUTE, per: 'in 30 minutes' },
};
type Span = keyof typeof SPANS;

const amount = (n: number | null) => formatCompact(n === null ? null : Math.abs(n));

/** Size over time, and who came and went. */
export function Charts({ segment }: { segment: Segment }) {
  const { data: stats, error } = useStats(segment.name);
  const { data: status } = useStatus();
  const [chosen, setChosen] = useState<Span>('30m');
  const { span, step, per } = SPANS[chosen];
  const now = status?.now ?? stats?.freshness.evaluatedAt ?? 0;
  const series = useMemo(
    () => minuteSeries(stats?.minutes ?? [], span, now, segment.size, segment.createdAt, step),
    [stats, span, step, now, segment.size, segment.createdAt],
  );
  if (error && !stats) return <ProblemAlert error={error} />;
  const spans = (
    <SegmentedControl
      size="xs"
      aria-label="Span of the charts"
      value={chosen}
      onChange={(value) => {
        setChosen(value as Span);
      }}
      data={Object.keys(SPANS)}
    />
  );
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }} spacing="md">
      <Panel title="Size" description="members at the end of each step" actions={spans}>
        <LiveChart label="Size" times={series.times} series={[{ label: 'Members', values: series.size, color: '--app-chart-1' }]} format={formatCompact} height={170} atLeast={5} span={span} sync="segment" />
      </Panel>
      <Panel
        title="Entered and left"
        description={`members ${per}`}
        actions={
          <Text size="sm" c="dimmed" aria-hidden>
            <span style={{ color: 'var(--app-entered)' }}>▲ entered</span> <span style={{ color: 'var(--app-exited)' }}>▼ left</span>
          </Text>
        }
      >
        <LiveChart
          label="Entered and left"
          times={[...series.times, (series.times.at(-1) ?? 0) + step * 0.6]}
          series={[
            // Room for the newest column.
            { label: 'Entered', values: [...series.entered, null], color: '--app-entered', bars: true },
            { label: 'Left', values: [...series.exited, null], color: '--app-exited', bars: true },
          ]}
          format={amount}
          height={170}
          atLeast={4}
          span={span}
          sync="segment"
        />
      </Panel>
    </SimpleGrid>
  );
}
