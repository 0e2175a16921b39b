import { Stack, Text, ThemeIcon } from '@mantine/core';
import { IconInbox, type Icon } from '@tabler/icons-react';
import type { ReactNode } from 'react';

export interface EmptyStateProps {
  title: string;
  text?: ReactNode;
  /** The next step: a button or a link. */
  action?: ReactNode;
  icon?: Icon;
}

/** What stands where there is nothing, and what to do about it. */
export function EmptyState({ title, text, action, icon: Shown = IconInbox }: EmptyStateProps) {
  return (
    <Stack align="center" gap={6} py="xl" px="md" ta="center">
      <ThemeIcon variant="light" color="gray" size={44} radius="xl" aria-hidden>
        <Shown size={22} stroke={1.6} />
      </ThemeIcon>
      <Text fw={600} mt={4}>
        {title}
      </Text>
      {text && (
        <Text c="dimmed" size="sm" maw={460} component="div">
          {text}
        </Text>
      )}
      {action && <div style={{ marginTop: 8 }}>{action}</div>}
    </Stack>
  );
}
