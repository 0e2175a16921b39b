import { Group, Text, Title } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import type { ReactNode } from 'react';

export interface PageHeaderProps {
  title: string;
  /** Shown in place of the title, when that is more than text. */
  heading?: ReactNode;
  description?: ReactNode;
  /** Badges and the like, beside the title. */
  aside?: ReactNode;
  /** Buttons, on the right. */
  actions?: ReactNode;
}

/** The heading of a page; it also names the document. */
export function PageHeader({ title, heading, description, aside, actions }: PageHeaderProps) {
  useDocumentTitle(`${title} · Cohort`);
  return (
    <Group justify="space-between" align="flex-start" mb="md" gap="sm">
      <div style={{ minWidth: 0 }}>
        <Group gap="sm">
          <Title order={1} className="wrap">
            {heading ?? title}
          </Title>
          {aside}
        </Group>
        {description && (
          <Text c="dimmed" size="md" mt={2} component="div">
            {description}
          </Text>
        )}
      </div>
      {actions && <Group gap="xs">{actions}</Group>}
    </Group>
  );
}
