import { Alert, Button, Group, List, Text } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { asProblem } from '../api';
import { SegmentName } from './links';

interface ProblemAlertProps {
  /** A `ProblemError`, or any other error; nothing is shown without one. */
  error: unknown;
  onRetry?: () => void;
  /** Told of a place in the text that is clicked on. */
  onGoTo?: (line: number, column: number) => void;
}

const place = (line?: number | null, column?: number | null) => (line ? `line ${line}${column ? `, column ${column}` : ''}` : '');

/** What went wrong, where, and what would be accepted. */
export function ProblemAlert({ error, onRetry, onGoTo }: ProblemAlertProps) {
  if (error === null || error === undefined) return null;
  const problem = asProblem(error);
  const several = (problem.errors?.length ?? 0) > 1;
  const errors = several ? (problem.errors ?? []) : [{ message: problem.detail, line: problem.line, column: problem.column, hint: problem.hint }];
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle size={18} />} title={problem.title} role="alert" radius="md">
      <List spacing={6} listStyleType={several ? 'disc' : 'none'} withPadding={several} m={0} p={several ? undefined : 0}>
        {errors.map((e, i) => (
          <List.Item key={i}>
            <Text size="sm" style={{ whiteSpace: 'pre-wrap' }} className="wrap" component="span">
              {e.message}
            </Text>
            {e.line != null &&
              (onGoTo ? (
                <Button
                  variant="subtle"
                  color="red"
                  size="compact-xs"
                  ml={6}
                  onClick={() => {
                    onGoTo(e.line ?? 1, e.column ?? 1);
                  }}
                >
                  {place(e.line, e.column)}
                </Button>
              ) : (
                <Text size="sm" c="dimmed" component="span">{` (${place(e.line, e.column)})`}</Text>
              ))}
            {e.hint && (
              <Text size="sm" c="dimmed" className="wrap">
                {e.hint}
              </Text>
            )}
          </List.Item>
        ))}
      </List>
      {(problem.segments?.length ?? 0) > 0 && (
        <Group gap="xs" mt={6}>
          {problem.segments?.map((name) => <SegmentName key={name} name={name} />)}
        </Group>
      )}
      {onRetry && (
        <Button size="xs" variant="default" mt="sm" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}
