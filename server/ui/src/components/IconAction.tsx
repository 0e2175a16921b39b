import { ActionIcon, Tooltip, type ActionIconProps } from '@mantine/core';
import type { ComponentProps } from 'react';

interface IconActionProps extends ActionIconProps, Pick<ComponentProps<'button'>, 'onClick' | 'aria-pressed'> {
  /** What it does, to hover over. */
  label: string;
  /** Its name, where that says more than the label. */
  name?: string;
}

/** A button that is an icon. */
export function IconAction({ label, name = label, ...rest }: IconActionProps) {
  return (
    <Tooltip label={label}>
      <ActionIcon aria-label={name} {...rest} />
    </Tooltip>
  );
}
