import { Badge, Group, Text, Tooltip } from '@mantine/core';
import { StatusDot } from '../../components';
import { plainReason } from './words';
import { KIND_LABELS, type Kind } from './kind';

const KIND_COLORS: Record<Kind, string> = { rules: 'cobalt', combination: 'grape', sql: 'gray' };

export const KindBadge = ({ kind }: { kind: Kind }) => <Badge color={KIND_COLORS[kind]}>{KIND_LABELS[kind]}</Badge>;

export const EMIT_LABELS: Record<string, string> = { CHANGES: 'At once', FINAL: 'At the close' };

/** When results come, with the reason to hover over. */
export function EmitBadge({ emit, reason }: { emit: string; reason?: string | null }) {
  const label = `EMIT ${emit}${reason ? `: ${plainReason(reason)}` : ''}`;
  return (
    <Tooltip label={label} multiline maw={320} events={{ hover: true, focus: true, touch: true }}>
      <Badge color={emit === 'FINAL' ? 'orange' : 'teal'} tabIndex={0}>
        {EMIT_LABELS[emit] ?? emit}
      </Badge>
    </Tooltip>
  );
}

export const State = ({ active }: { active: boolean }) => (
  <Group gap={8} wrap="nowrap">
    <StatusDot tone={active ? 'good' : 'idle'} size={7} />
    <Text size="sm" component="span" c={active ? undefined : 'dimmed'}>
      {active ? 'Active' : 'Paused'}
    </Text>
  </Group>
);
