import { Card, Group, Text, Tooltip } from '@mantine/core';
import { IconInfoCircle } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { Sparkline } from './Sparkline';
import { StatusDot, type Tone } from './StatusDot';

export interface StatProps {
  label: string;
  value: ReactNode;
  /** A second line, smaller. */
  detail?: ReactNode;
  /** Explains the number. */
  help?: string;
  tone?: Tone;
  trend?: readonly (number | null)[];
  color?: string;
}

/** A number with its name, and how it went lately. */
export function Stat({ label, value, detail, help, tone, trend, color }: StatProps) {
  return (
    <Card p="sm" style={{ display: 'flex', flexDirection: 'column', justifyContent: 'space-between', gap: 4 }}>
      <div>
        <Group gap={6} wrap="nowrap">
          {tone && <StatusDot tone={tone} />}
          <Text size="sm" c="dimmed" fw={500}>
            {label}
          </Text>
          {help && (
            <Tooltip label={help} multiline maw={280} events={{ hover: true, focus: true, touch: true }}>
              <IconInfoCircle size={14} tabIndex={0} role="img" aria-label={help} style={{ color: 'var(--mantine-color-dimmed)', flex: 'none' }} />
            </Tooltip>
          )}
        </Group>
        <Text className="num wrap" fw={620} fz="1.375rem" lh={1.3}>
          {value}
        </Text>
        {detail && (
          <Text size="sm" c="dimmed" className="num" component="div">
            {detail}
          </Text>
        )}
      </div>
      {trend && <Sparkline values={trend} color={color} fromZero />}
    </Card>
  );
}
