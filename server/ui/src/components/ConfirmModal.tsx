import { Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useState, type ReactNode } from 'react';
import { ProblemAlert } from './ProblemAlert';

export interface ConfirmModalProps {
  opened: boolean;
  onClose: () => void;
  title: string;
  children?: ReactNode;
  /** What the button says: the verb, and what it is done to. */
  confirm: string;
  onConfirm: () => void;
  danger?: boolean;
  loading?: boolean;
  error?: unknown;
  /** A text that has to be typed first. */
  typed?: string;
}

/** Asks before something that is not easily undone. */
export function ConfirmModal({ opened, onClose, title, children, confirm, onConfirm, danger, loading, error, typed }: ConfirmModalProps) {
  const [text, setText] = useState('');
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title={title}
      onExitTransitionEnd={() => {
        setText('');
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm();
        }}
      >
        <Stack gap="sm">
          <div>{children}</div>
          {typed && (
            <TextInput
              label={
                <>
                  Type <b>{typed}</b> to confirm
                </>
              }
              value={text}
              onChange={(event) => {
                setText(event.currentTarget.value);
              }}
              autoComplete="off"
            />
          )}
          <ProblemAlert error={error} />
          <Group justify="flex-end" gap="xs" mt="xs">
            <Button variant="default" onClick={onClose} data-autofocus>
              Cancel
            </Button>
            <Button type="submit" color={danger ? 'red.9' : undefined} loading={loading} disabled={typed !== undefined && text !== typed}>
              {confirm}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
