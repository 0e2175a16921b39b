import { Card, Group, Text, Title } from '@mantine/core';
import { useId, type CSSProperties, type ReactNode } from 'react';

export interface PanelProps {
  title: string;
  description?: ReactNode;
  /** On the right of the title. */
  actions?: ReactNode;
  children: ReactNode;
  /** Whether the content goes to the edges, as tables do. */
  flush?: boolean;
  style?: CSSProperties;
}

/** A card with a heading; a region of the page. */
export function Panel({ title, description, actions, children, flush = false, style }: PanelProps) {
  const id = useId();
  return (
    <Card component="section" aria-labelledby={id} p={0} style={style}>
      <Group justify="space-between" px="md" pt="sm" pb={flush ? 'xs' : 6} gap="xs" align="flex-start">
        <div style={{ minWidth: 0, flex: '1 1 150px' }}>
          <Title order={2} id={id}>
            {title}
          </Title>
          {description && (
            <Text size="sm" c="dimmed" component="div">
              {description}
            </Text>
          )}
        </div>
        {actions && (
          <Group gap="xs" wrap="nowrap">
            {actions}
          </Group>
        )}
      </Group>
      {flush ? children : <div style={{ padding: '0 var(--mantine-spacing-md) var(--mantine-spacing-md)', minWidth: 0 }}>{children}</div>}
    </Card>
  );
}
