import { Tooltip } from '@mantine/core';
import { useNow } from '../../components';
import { formatClock, formatDayMinute, formatDuration, formatUtc } from '../../lib/format';

const DAY = 86_400_000;

/** The span of a window: its clock times within a day, else its days. */
export function WindowTimes({ start, end }: { start: number; end: number }) {
  const now = useNow();
  if (end === 0) return '–';
  const far = end - start >= DAY || Math.abs(now - start) >= DAY;
  const format = far ? formatDayMinute : formatClock;
  const label = (
    <>
      {formatUtc(start)} to
      <br />
      {formatUtc(end)}, {formatDuration(end - start)}
    </>
  );
  return (
    <Tooltip label={label}>
      <span className="num time">
        {format(start)} – {format(end)}
      </span>
    </Tooltip>
  );
}
