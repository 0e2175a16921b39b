import { SimpleGrid } from '@mantine/core';
import { useStats, useStatus, type Segment } from '../../../api';
import { Stat } from '../../../components';
import { formatCount, formatDuration, plural } from '../../../lib/format';
import { minuteSeries } from './minutes';

const HALF_HOUR = 1_800_000;

/** How many are in it, came and went, and how fresh that is. */
export function Figures({ segment }: { segment: Segment }) {
  const { data: stats, dataUpdatedAt } = useStats(segment.name);
  const { data: status } = useStatus();
  const { size } = segment;
  const now = status?.now ?? dataUpdatedAt;
  const series = stats && now > 0 ? minuteSeries(stats.minutes, HALF_HOUR, now, size, segment.createdAt) : undefined;
  const watermark = (stats ?? segment).freshness.watermark;
  const behind = watermark == null || !status ? null : Math.max(0, status.now - watermark);
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }} spacing={{ base: 'xs', sm: 'md' }} component="section" aria-label="Figures">
      <Stat label="Members" value={formatCount(size)} trend={series?.size ?? segment.trend} detail="now" />
      <Stat label="Entered" value={formatCount(segment.entered)} trend={series?.entered} color="var(--app-entered)" detail="in the last 5 minutes" />
      <Stat label="Left" value={formatCount(segment.exited)} trend={series?.exited.map((n) => n && -n)} color="var(--app-exited)" detail="in the last 5 minutes" />
      <Stat
        label="Event time"
        value={behind === null ? 'none yet' : `${formatDuration(Math.round(behind / 100) * 100)} behind`}
        help="How far the watermark is behind the clock. A window closes when the watermark has passed its end."
        detail={plural(segment.freshness.sinkQueue, 'batch waits', 'batches wait') + ' for the sink'}
      />
    </SimpleGrid>
  );
}
