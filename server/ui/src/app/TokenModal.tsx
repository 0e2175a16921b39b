import { Button, Group, Modal, PasswordInput, Stack, Switch, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { dismiss, setToken, useToken } from '../api';

/** A form for a token. */
export function TokenForm({ onDone, onCancel }: { onDone?: () => void; onCancel?: () => void }) {
  const state = useToken();
  const queries = useQueryClient();
  const [value, setValue] = useState('');
  const [remember, setRemember] = useState(state.remembered);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        setToken(value.trim() || null, remember);
        setValue('');
        void queries.resetQueries();
        onDone?.();
      }}
    >
      <Stack gap="sm">
        <PasswordInput
          label="Token"
          description="Sent with each call as Authorization: Bearer."
          value={value}
          autoComplete="off"
          data-autofocus
          onChange={(event) => {
            setValue(event.currentTarget.value);
          }}
          visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the token' }}
        />
        <Switch
          label="Remember it in this browser"
          description="Otherwise it is forgotten with the tab."
          checked={remember}
          onChange={(event) => {
            setRemember(event.currentTarget.checked);
          }}
        />
        <Group gap="xs" justify={onCancel ? 'flex-end' : 'flex-start'}>
          {onCancel && (
            <Button variant="default" onClick={onCancel}>
              Not now
            </Button>
          )}
          <Button type="submit" disabled={value.trim() === ''}>
            Use this token
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

/** Asks for a token when the service wants one. */
export function TokenModal() {
  const { refused } = useToken();
  return (
    <Modal opened={refused !== null} onClose={dismiss} title={refused?.status === 403 ? 'This token may not do that' : 'Cohort asks for a token'}>
      <Stack gap="sm">
        <Text size="sm" c="dimmed">
          {refused?.detail}
        </Text>
        <TokenForm onCancel={dismiss} />
      </Stack>
    </Modal>
  );
}
