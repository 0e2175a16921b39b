import { Alert, Button, Group, List, Stack, Text, Textarea } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconCircleCheck, IconSend } from '@tabler/icons-react';
import { useState } from 'react';
import { keys, useSendRecord, type Letter } from '../../api';
import { CopyButton, ProblemAlert, TextLink } from '../../components';
import { curl, suggest } from './record';
import { reasonOf } from './reasons';

/** The record to be put right, and sent again. */
export function Repair({ letter, topics }: { letter: Letter; topics: readonly string[] }) {
  const [{ text: start, done }] = useState(() => suggest(letter, Date.now()));
  const [text, setText] = useState(start);
  const send = useSendRecord();
  const queries = useQueryClient();
  // Letters of HTTP name no topic: the type of the event decides.
  const topic = topics.includes(letter.topic) ? letter.topic : undefined;
  const url = `${window.location.origin}/api/v1/events${topic ? `?topic=${topic}` : ''}`;
  const refused = send.data?.rejected[0];
  return (
    <Stack gap="sm">
      <Text size="sm">{reasonOf(letter.reason).repair}</Text>
      {done.length > 0 && (
        <div>
          <Text size="sm" fw={550}>
            Suggested below
          </Text>
          <List size="sm">
            {done.map((what) => (
              <List.Item key={what} className="wrap">
                {what}
              </List.Item>
            ))}
          </List>
        </div>
      )}
      <Textarea
        label="Repaired record"
        autosize
        minRows={4}
        maxRows={16}
        spellCheck={false}
        styles={{ input: { fontFamily: 'var(--app-mono)', fontSize: 12.5 } }}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          send.reset();
        }}
      />
      <ProblemAlert error={send.error} />
      {refused && (
        <Alert color="red" variant="light" role="alert" title={`Refused again: ${reasonOf(refused.reason).name.toLowerCase()}`}>
          {reasonOf(refused.reason).repair} It is a dead letter of its own now.
        </Alert>
      )}
      {send.data && !refused && (
        <Alert color="teal" variant="light" role="status" icon={<IconCircleCheck size={18} />} title="It was taken in">
          The dead letter stays in the list, as a record of what happened. <TextLink to="/">See the dashboard</TextLink>
        </Alert>
      )}
      <Group gap="xs">
        <Button
          leftSection={<IconSend size={16} />}
          loading={send.isPending}
          disabled={text.trim() === '' || (send.data !== undefined && !refused)}
          onClick={() => {
            send.mutate({ text, ...(topic ? { topic } : {}) }, { onSuccess: () => void queries.invalidateQueries({ queryKey: keys.events }) });
          }}
        >
          Send it again
        </Button>
        <Text size="sm" c="dimmed">
          or by a command
        </Text>
        <CopyButton value={curl(text, url)} what="a curl command" />
      </Group>
    </Stack>
  );
}
