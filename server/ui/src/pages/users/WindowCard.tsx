import { Badge, Button, Stack } from '@mantine/core';
import { Fragment, useState } from 'react';
import type { WhyWindow } from '../../api';
import { useNow } from '../../components';
import { plain } from '../../lib/expression';
import { formatDuration, formatNumber, plural } from '../../lib/format';
import { inWords, ranked, termsOf } from './conditions';
import { Meter } from './Meter';
import classes from './users.module.css';
import { WindowTimes } from './WindowTimes';

const seconds = (ms: number) => formatDuration(Math.round(ms / 1000) * 1000);

function State({ window }: { window: WhyWindow }) {
  const left = window.windowEnd - useNow();
  if (window.closed) return <Badge color="gray">closed</Badge>;
  return <Badge color="cobalt" className="num">{left > 0 ? `open, ends in ${seconds(left)}` : 'about to close'}</Badge>;
}

/** Aggregates whose condition is more than a comparison with a number. */
function Values({ window, condition }: { window: WhyWindow; condition: string }) {
  return (
    <Stack gap={6} mt={8}>
      <code className={`mono ${classes.expression ?? ''}`}>{plain(condition)}</code>
      <dl className={classes.facts}>
        {window.aggregates.map(({ aggregate, value }) => (
          <Fragment key={aggregate}>
            <dt title={aggregate}>{inWords(aggregate)}</dt>
            <dd className="num">{typeof value === 'number' ? formatNumber(value) : String(value ?? 'no value')}</dd>
          </Fragment>
        ))}
      </dl>
    </Stack>
  );
}

/** A window of the user with what it is measured by. */
function WindowCard({ window, condition }: { window: WhyWindow; condition: string }) {
  const found = termsOf(condition, window);
  return (
    <div className={classes.window} data-qualifies={window.qualifies || undefined}>
      <div className={classes.windowHead}>
        <WindowTimes start={window.windowStart} end={window.windowEnd} />
        <State window={window} />
        {window.qualifies && <Badge color="green">qualifies</Badge>}
      </div>
      {!found && <Values window={window} condition={condition} />}
      {found && found.terms.length > 1 && !found.all && <div className={classes.or} style={{ marginTop: 8 }}>One of these is enough</div>}
      {found?.terms.map((term, i) => <Meter key={i} term={term} />)}
    </div>
  );
}

interface WindowsProps {
  windows: readonly WhyWindow[];
  condition: string;
  member: boolean;
  most?: number;
}

/** Windows of a user: those that decide first, the others on demand. */
export function Windows({ windows, condition, member, most = 2 }: WindowsProps) {
  const [all, setAll] = useState(false);
  const sorted = ranked(windows, member);
  const shown = all ? sorted : sorted.slice(0, most);
  return (
    <Stack gap="xs">
      {shown.map((window) => (
        <WindowCard key={`${window.windowStart} ${window.windowEnd}`} window={window} condition={condition} />
      ))}
      {sorted.length > most && (
        <Button
          variant="subtle"
          size="compact-sm"
          style={{ alignSelf: 'flex-start' }}
          aria-expanded={all}
          onClick={() => {
            setAll(!all);
          }}
        >
          {all ? 'Show fewer windows' : `Show ${plural(sorted.length - most, 'more window')}`}
        </Button>
      )}
    </Stack>
  );
}
