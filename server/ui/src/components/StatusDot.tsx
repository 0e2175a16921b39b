import { VisuallyHidden } from '@mantine/core';

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'idle';

const COLORS: Record<Tone, string> = {
  good: 'var(--app-good)',
  warn: 'var(--app-warn)',
  bad: 'var(--app-bad)',
  info: 'var(--app-info)',
  idle: 'var(--mantine-color-dimmed)',
};

/** A coloured dot; `label` says the same to those who do not see the colour. */
export function StatusDot({ tone, label, size = 8 }: { tone: Tone; label?: string; size?: number }) {
  return (
    <span style={{ display: 'inline-flex', flex: 'none' }}>
      <span
        aria-hidden
        style={{
          width: size,
          height: size,
          borderRadius: '50%',
          background: COLORS[tone],
          boxShadow: `0 0 0 3px color-mix(in srgb, ${COLORS[tone]} 18%, transparent)`,
        }}
      />
      {label && <VisuallyHidden>{label}</VisuallyHidden>}
    </span>
  );
}
