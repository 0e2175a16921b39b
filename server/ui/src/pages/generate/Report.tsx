import { Alert, Button, Group, Progress as Bar, Stack, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck, IconPlayerStop } from '@tabler/icons-react';
import { LinkButton, ProblemAlert, UserLink, useNow } from '../../components';
import { formatCount, formatDuration, formatRate, plural } from '../../lib/format';
import type { Progress } from './useSender';

/** How it goes, and how it went. */
export function Report({ progress, onAgain }: { progress: Progress; onAgain: () => void }) {
  const { state, of, accepted, rejected, reasons, order, startedAt, at, error } = progress;
  const now = useNow();
  if (state === 'idle' || !order) return null;
  const sent = accepted + rejected;
  if (state === 'sending') {
    return (
      <Stack gap={6} role="status">
        <Text size="sm" className="num">
          {formatCount(sent)} of {formatCount(of)} sent
        </Text>
        <Bar value={(sent * 100) / of} animated aria-label="Sent" />
      </Stack>
    );
  }
  if (state === 'running') {
    const seconds = Math.max(1, (Math.max(now, at) - startedAt) / 1000);
    return (
      <Stack gap={6} role="status">
        <Text size="sm" className="num">
          {plural(accepted, 'event')} taken in, {formatRate(accepted / seconds)}, for {formatDuration(Math.floor(seconds) * 1000)}
          {rejected > 0 && `; ${formatCount(rejected)} refused: ${reasons.join(', ')}`}
        </Text>
        <Bar value={100} animated striped aria-label="Sending until it is stopped" />
      </Stack>
    );
  }
  if (state === 'failed') {
    return (
      <Stack gap="xs">
        <ProblemAlert error={error} />
        <Text size="sm" role="status">
          {sent > 0 ? `${plural(accepted, 'event')} had been taken in before.` : 'Nothing was taken in.'}
        </Text>
        <Group>
          <Button variant="default" size="xs" onClick={onAgain}>
            Try again
          </Button>
        </Group>
      </Stack>
    );
  }
  const good = rejected === 0;
  const Icon = state === 'stopped' ? IconPlayerStop : good ? IconCircleCheck : IconAlertTriangle;
  return (
    <Alert
      role="status"
      radius="md"
      variant="light"
      color={good ? 'teal' : 'orange'}
      icon={<Icon size={18} />}
      title={`${plural(accepted, 'event')} ${accepted === 1 ? 'was' : 'were'} taken in${good ? '' : `, ${formatCount(rejected)} refused`}`}
    >
      <Text size="sm">
        {good ? '' : `Refused as ${reasons.join(', ')}. `}
        In {formatDuration(at - startedAt)}{order.topic && <>, to <span className="mono">{order.topic}</span></>}. Their users are <UserLink id={`${order.prefix}1`} /> and on.
      </Text>
      <Group gap="xs" mt="sm">
        <LinkButton to="/segments" variant="default" size="xs">
          See segments
        </LinkButton>
        <LinkButton to="/" variant="default" size="xs">
          Dashboard
        </LinkButton>
        {!good && (
          <LinkButton to="/events/dead-letters" variant="default" size="xs">
            Dead letters
          </LinkButton>
        )}
      </Group>
    </Alert>
  );
}
