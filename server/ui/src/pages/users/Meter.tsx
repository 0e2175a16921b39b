import { IconCircleCheck, IconCircleDashed } from '@tabler/icons-react';
import { Text } from '@mantine/core';
import { formatNumber } from '../../lib/format';
import { barOf, distanceOf, inWords, needed, type Term } from './conditions';
import classes from './users.module.css';

/** A value on a bar with a mark where the threshold is, and how far off it is. */
export function Meter({ term }: { term: Term }) {
  const { value, threshold, met, aggregate } = term;
  const at = barOf(term);
  const Icon = met ? IconCircleCheck : IconCircleDashed;
  const [name, distance] = [inWords(aggregate), distanceOf(term)];
  const over = value !== null && value > threshold;
  return (
    <div className={classes.meter} data-met={met || undefined} data-over={over || undefined}>
      <div className={classes.meterHead}>
        <Text component="span" size="md" fw={500} className="wrap" title={aggregate} style={{ display: 'inline-flex', gap: 6, alignItems: 'center' }}>
          <Icon size={16} aria-hidden style={{ flex: 'none', color: met ? 'var(--app-good)' : 'var(--mantine-color-dimmed)' }} />
          {name}
        </Text>
        <span className={`num ${classes.meterValue ?? ''}`}>{formatNumber(value)}</span>
      </div>
      <div
        className={classes.bar}
        role="meter"
        aria-label={name}
        aria-valuenow={value ?? 0}
        aria-valuemin={Math.min(0, value ?? 0, threshold)}
        aria-valuemax={Math.max(value ?? 0, threshold)}
        aria-valuetext={`${formatNumber(value)}; it takes ${needed(term)}; ${distance}`}
      >
        <div className={classes.fill} style={{ width: `${at.value * 100}%` }} />
        <div className={classes.mark} style={{ left: `${at.threshold * 100}%` }} />
      </div>
      <div className={classes.meterFoot}>
        <span className="num">takes {needed(term)}</span>
        <b className="num">{distance}</b>
      </div>
    </div>
  );
}
