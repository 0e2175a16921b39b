import { Skeleton, Text, UnstyledButton } from '@mantine/core';
import type { LetterCount } from '../../api';
import { Panel, RelativeTime } from '../../components';
import { formatCount } from '../../lib/format';
import classes from './letters.module.css';
import { reasonOf } from './reasons';

interface ReasonsProps {
  /** `undefined` while they are loaded. */
  counts: readonly LetterCount[] | undefined;
  chosen: string | undefined;
  onChoose: (reason: string | undefined) => void;
}

/** How many there are of each reason; one of them filters the list. */
export function Reasons({ counts, chosen, onChoose }: ReasonsProps) {
  const reasons = new Map<string, { count: number; newest: number }>();
  for (const { reason, count, newest } of counts ?? []) {
    const before = reasons.get(reason) ?? { count: 0, newest: 0 };
    reasons.set(reason, { count: before.count + count, newest: Math.max(before.newest, newest) });
  }
  const sorted = [...reasons].sort(([, a], [, b]) => b.count - a.count);
  const most = sorted[0]?.[1].count ?? 1;
  return (
    <Panel title="By reason" description="Among all that are kept." flush>
      {!counts && <Skeleton height={140} m="md" w="auto" />}
      <ul className={classes.reasons} aria-label="Reasons">
        {sorted.map(([reason, { count, newest }]) => (
          <li key={reason}>
            <UnstyledButton
              className={classes.reason}
              aria-pressed={chosen === reason}
              onClick={() => {
                onChoose(chosen === reason ? undefined : reason);
              }}
            >
              <span className={classes.reasonName}>
                <Text span fw={550}>
                  {reasonOf(reason).name}
                </Text>
                <Text span fw={620} className="num">
                  {formatCount(count)}
                </Text>
              </span>
              <span className={classes.bar} aria-hidden>
                <span style={{ width: `${(count * 100) / most}%` }} />
              </span>
              <Text span size="sm" c="dimmed">
                newest <RelativeTime at={newest} />
              </Text>
            </UnstyledButton>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
