import { Badge, Button, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconBolt, IconCheck, IconMinus } from '@tabler/icons-react';
import { useState } from 'react';
import { useAllSegments, useWhy, type Membership, type Segment, type Why, type WhyInput } from '../../api';
import { EmptyState, ProblemAlert, RelativeTime, SegmentName, ShortMoment } from '../../components';
import { plain } from '../../lib/expression';
import { formatNumber } from '../../lib/format';
import { distanceOf, emptyTerms, inWords, needed, ranked, roleOf, termsOf } from './conditions';
import { Events } from './Events';
import { expressionOf, namesOf } from './expression';
import { Meter } from './Meter';
import { Windows } from './WindowCard';
import classes from './users.module.css';

/** Which inputs hold, or for others which do not. */
function ofInputs(why: Why, expression: string): string {
  const said = why.inputs.flatMap((input) => {
    const role = roleOf(expression, input.segment);
    const holds = role === 'out' ? !input.member : input.member;
    if (why.member) return holds ? [`${input.member ? 'in' : 'not in'} ${input.segment}`] : [];
    if (holds) return [];
    return [role === 'out' ? `must not be in ${input.segment}, but is` : role === 'in' ? `has to be in ${input.segment}, and is not` : `is not in ${input.segment}`];
  });
  if (said.length === 0) return why.member ? 'What it reads holds.' : 'What it reads does not hold in the same window.';
  return `${said.join(why.member ? ' and ' : '; ')}.`.replace(/^./, (c) => c.toUpperCase());
}

/** In a sentence: what decided, and how far off it is. */
function sentence(why: Why, expression: string): string {
  if (why.inputs.length > 0) return ofInputs(why, expression);
  const [window] = ranked(why.windows, why.member);
  if (!window) return why.member ? 'By a window that has closed.' : 'None of this user’s events counts in a window that is open.';
  const terms = termsOf(why.condition, window)?.terms ?? [];
  const said = (why.member ? terms : terms.filter((t) => !t.met)).map(
    (t) => `${inWords(t.aggregate)} ${t.value === null ? 'has no value' : `is ${formatNumber(t.value)}`}, and it takes ${needed(t)}: ${distanceOf(t)}`,
  );
  if (!why.member && window.qualifies) return 'It qualifies so far, but members are known only when the window closes.';
  if (why.member && !window.qualifies) return `By a window that has closed. To stay when the open one closes: ${terms.map((t) => distanceOf(t)).join(', ') || 'see below'}.`;
  return said.length > 0 ? `${said.join('; ')}.`.replace(/^./, (c) => c.toUpperCase()) : why.summary;
}

function Verdict({ why, expression, membership }: { why: Why; expression: string; membership?: Membership }) {
  const Icon = why.member ? IconCheck : IconMinus;
  return (
    <div className={classes.verdict} data-in={why.member || undefined} data-out={!why.member || undefined}>
      <div className={classes.sign} aria-hidden>
        <Icon size={22} stroke={2.2} />
      </div>
      <div style={{ minWidth: 0 }}>
        <Title order={3} fz="1.0625rem" className="wrap">
          {why.member ? 'In' : 'Not in'} <SegmentName name={why.segment} fw={640} style={{ fontSize: 'inherit' }} />
          {why.member && membership && (
            <Text component="span" size="sm" c="dimmed" fw={400}>
              {' '}
              since <RelativeTime at={membership.since} />
            </Text>
          )}
        </Title>
        <Text size="md" className="wrap" mt={2} data-testid="because">
          {sentence(why, expression)}
        </Text>
        {why.member && why.memberUntilWindowAfter != null && (
          <Text size="sm" c="dimmed">
            Qualified last in the window that ended at <ShortMoment at={why.memberUntilWindowAfter} />.
          </Text>
        )}
      </div>
    </div>
  );
}

const ROLES = { in: 'has to be in', out: 'must not be in', either: 'may be in' };

/** A segment that a derived one reads, with its windows and inputs. */
function InputCard({ userId, input, expression }: { userId: string; input: WhyInput; expression: string }) {
  const [events, setEvents] = useState(false);
  const role = roleOf(expression, input.segment);
  const holds = role === 'out' ? !input.member : input.member;
  const hidden = input.segment.includes('/');
  return (
    <li className={classes.input} data-in={holds || undefined} data-out={!holds || undefined}>
      <div className={classes.inputHead}>
        <Text size="sm" c="dimmed">
          {ROLES[role]}
        </Text>
        {hidden ? <Text fw={550}>{input.segment}</Text> : <SegmentName name={input.segment} />}
        <Badge color={holds ? 'green' : role === 'either' ? 'gray' : 'orange'}>{input.member ? 'is in' : 'is not in'}</Badge>
      </div>
      <Stack gap="xs" mt={8}>
        {input.inputs.length > 0 && <Inputs userId={userId} inputs={input.inputs} expression={plain(input.condition)} />}
        {input.inputs.length === 0 && input.windows.length === 0 && (
          <>
            <Text size="sm" c="dimmed">
              {input.member ? 'By a window that has closed.' : 'No event in an open window.'}
            </Text>
            {!input.member && <Takes condition={input.condition} />}
          </>
        )}
        <Windows windows={input.windows} condition={input.condition} member={input.member} most={1} />
        {input.inputs.length === 0 && !hidden && (
          <>
            <Button
              variant="subtle"
              size="compact-sm"
              style={{ alignSelf: 'flex-start' }}
              aria-expanded={events}
              onClick={() => {
                setEvents(!events);
              }}
            >
              {events ? 'Hide its events' : 'Show its events'}
            </Button>
            {events && <InputEvents userId={userId} segment={input.segment} />}
          </>
        )}
      </Stack>
    </li>
  );
}

function InputEvents({ userId, segment }: { userId: string; segment: string }) {
  const { data, error } = useWhy(userId, segment);
  if (error && !data) return <ProblemAlert error={error} />;
  return <Events label={`Events of ${segment}`} events={data?.events} pageSize={5} compact empty={<NoEvents />} />;
}

function Inputs({ userId, inputs, expression }: { userId: string; inputs: readonly WhyInput[]; expression: string }) {
  return (
    <Stack component="ul" gap="xs" p={0} m={0} style={{ listStyle: 'none' }} aria-label="What it reads">
      {inputs.map((input, i) => (
        <InputCard key={i} userId={userId} input={input} expression={expression} />
      ))}
    </Stack>
  );
}

const NoEvents = () => <EmptyState icon={IconBolt} title="No event that counts" text="None of the events that are kept of this user is taken in by this segment." />;

/** What it takes, when there is no window to show it with. */
function Takes({ condition }: { condition: string }) {
  const found = emptyTerms(condition);
  if (found) {
    return (
      <div className={classes.window}>
        <div className={classes.windowHead}>In a new window{found.all ? '' : ', one of these is enough'}</div>
        {found.terms.map((term, i) => (
          <Meter key={i} term={term} />
        ))}
      </div>
    );
  }
  return (
    <div className={classes.expression}>
      <Text size="sm" c="dimmed">
        What it takes, by window
      </Text>
      <code className="mono">{plain(condition)}</code>
    </div>
  );
}

/** Why a user is in a segment, or not. */
export function WhyCard({ userId, segment, membership }: { userId: string; segment: Segment; membership?: Membership }) {
  const { data: segments } = useAllSegments();
  const { data: why, error, refetch } = useWhy(userId, segment.name, segment.active);
  if (!segment.active) {
    return <EmptyState title={`${segment.name} is paused`} text="Nobody is in a segment that does not run. Resume it on its page to see who would be." action={<SegmentName name={segment.name} />} />;
  }
  if (!why) return error ? <ProblemAlert error={error} onRetry={() => void refetch()} /> : <Skeleton height={220} radius="md" />;
  const expression = expressionOf(segment, why.condition, namesOf(segments));
  return (
    <Stack gap="md">
      <Verdict why={why} expression={expression} membership={membership} />
      {why.inputs.length > 0 && (
        <>
          <div className={classes.expression}>
            <code className="mono">{expression}</code>
          </div>
          <Inputs userId={userId} inputs={why.inputs} expression={expression} />
        </>
      )}
      {why.inputs.length === 0 && why.windows.length === 0 && !why.member && <Takes condition={why.condition} />}
      {why.inputs.length === 0 && <Windows windows={why.windows} condition={why.condition} member={why.member} />}
      {why.inputs.length === 0 && (
        <section aria-label="Events that decided it">
          <Title order={3} mb={4}>
            Events that decided it
          </Title>
          <Events label={`Events of ${segment.name}`} events={why.events} pageSize={5} compact empty={<NoEvents />} />
        </section>
      )}
    </Stack>
  );
}
