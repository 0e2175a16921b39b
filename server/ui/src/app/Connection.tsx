import { Button, Group, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconPlugConnectedX } from '@tabler/icons-react';
import { useEffect, useRef } from 'react';
import { keys, ProblemError, useLost, useStatus } from '../api';
import { TextLink } from '../components/links';
import { StatusDot } from '../components/StatusDot';
import { RelativeTime } from '../components/time';
import classes from './shell.module.css';

/** Whether the service answers; `undefined` before the first answer. */
export function useConnected(): { connected: boolean | undefined; since: number } {
  const { data, error, dataUpdatedAt } = useStatus();
  const lost = useLost();
  return { connected: lost ? false : data || error ? true : undefined, since: dataUpdatedAt };
}

/** Says that the service does not answer, for as long as that is so. */
export function ConnectionBanner() {
  const { connected, since } = useConnected();
  const queries = useQueryClient();
  const was = useRef(connected);
  useEffect(() => {
    // What failed meanwhile is read again.
    if (was.current === false && connected) void queries.invalidateQueries({ predicate: (q) => q.queryKey[0] !== keys.status[0] });
    was.current = connected;
  }, [connected, queries]);
  return (
    <div role="status" aria-live="polite">
      {connected === false && (
        <Group className={classes.banner} gap="sm" justify="space-between">
          <Group gap="sm" wrap="nowrap">
            <IconPlugConnectedX size={18} aria-hidden />
            <Text size="sm">
              <b>Cohort does not answer.</b> This page tries again every two seconds
              {since > 0 && (
                <>
                  {'; what it shows is of '}
                  <RelativeTime at={since} />
                </>
              )}
              .
            </Text>
          </Group>
          <Button size="compact-sm" variant="white" color="dark" onClick={() => void queries.invalidateQueries({ queryKey: keys.status })}>
            Try now
          </Button>
        </Group>
      )}
    </div>
  );
}

/** The same in a word, in the header. */
export function ConnectionState() {
  const { connected } = useConnected();
  const { data, error } = useStatus();
  const refused = error instanceof ProblemError && error.problem.status === 401;
  const problems = data?.problems.length ?? 0;
  const [tone, text] =
    connected === false
      ? (['bad', 'Not connected'] as const)
      : connected === undefined
        ? (['idle', 'Connecting'] as const)
        : refused
          ? (['warn', 'Token needed'] as const)
          : problems > 0
          ? (['warn', 'Needs attention'] as const)
          : (['good', 'Live'] as const);
  return (
    <Group gap={8} wrap="nowrap" data-testid="connection" data-tone={tone}>
      <StatusDot tone={tone} />
      <Text size="sm" c="dimmed" style={{ whiteSpace: 'nowrap' }}>
        {refused && connected ? <TextLink to="/settings">{text}</TextLink> : text}
      </Text>
    </Group>
  );
}
