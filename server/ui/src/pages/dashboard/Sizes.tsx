import { Badge, Skeleton, Stack } from '@mantine/core';
import { IconStack2 } from '@tabler/icons-react';
import { useAllSegments } from '../../api';
import { EmptyState, LinkButton, Panel, ProblemAlert, SegmentName, Sparkline, TextLink } from '../../components';
import { formatCompact, formatCount } from '../../lib/format';
import classes from './dashboard.module.css';

const SHOWN = 10;

/** Members of each segment, largest first. */
export function Sizes() {
  const { data: segments, error } = useAllSegments();
  const sorted = [...(segments ?? [])].sort((a, b) => b.size - a.size || a.name.localeCompare(b.name));
  const most = Math.max(1, sorted[0]?.size ?? 1);
  return (
    <Panel
      title="Members per segment"
      actions={
        segments && (
          <TextLink to="/segments" size="sm">
            {segments.length > SHOWN ? `All ${formatCount(segments.length)}` : 'All segments'}
          </TextLink>
        )
      }
      style={{ height: '100%' }}
    >
      {!segments && (error ? <ProblemAlert error={error} /> : <Skeleton height={200} />)}
      {segments?.length === 0 && (
        <EmptyState
          icon={IconStack2}
          title="No segments yet"
          text="As soon as there is one, its members are counted here."
          action={<LinkButton to="/segments/new">New segment</LinkButton>}
        />
      )}
      <Stack gap={0} component="ul" className={classes.sizes}>
        {sorted.slice(0, SHOWN).map((s) => (
          <li key={s.id}>
            <div className={classes.sizeName}>
              <SegmentName name={s.name} />
              {!s.active && (
                <Badge size="xs" color="gray" ml={8}>
                  paused
                </Badge>
              )}
            </div>
            <Sparkline values={s.trend} height={20} color="var(--app-chart-1)" />
            <span className={`num ${classes.sizeNumber}`}>{formatCompact(s.size)}</span>
            <div className={classes.bar} aria-hidden>
              <div style={{ width: `${(s.size * 100) / most}%` }} />
            </div>
          </li>
        ))}
      </Stack>
    </Panel>
  );
}
