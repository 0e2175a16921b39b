import { Group, NumberInput, Text } from '@mantine/core';
import { useId } from 'react';

const LONGEST = 1440;

interface WindowInputProps {
  label: string;
  value: number;
  onChange: (minutes: number) => void;
  disabled: boolean;
}

/** The length of a window. */
export function WindowInput({ label, value, onChange, disabled }: WindowInputProps) {
  const id = useId();
  return (
    <Group gap={8} wrap="nowrap">
      <Text size="sm" c="dimmed" component="label" htmlFor={id}>
        {label}
      </Text>
      <NumberInput
        id={id}
        value={value > 0 ? value : ''}
        min={1}
        max={LONGEST}
        allowDecimal={false}
        allowNegative={false}
        suffix=" min"
        size="sm"
        w={104}
        disabled={disabled}
        onChange={(minutes) => {
          const number = typeof minutes === 'string' ? Number.parseInt(minutes, 10) : minutes;
          onChange(Number.isFinite(number) ? Math.min(number, LONGEST) : 0);
        }}
      />
    </Group>
  );
}
