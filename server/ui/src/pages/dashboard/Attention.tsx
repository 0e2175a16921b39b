import { Card, Group, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck, IconInfoCircle, IconUrgent } from '@tabler/icons-react';
import type { Sample, ServiceStatus } from '../../api';
import { LinkButton } from '../../components';
import { findings } from './findings';
import classes from './dashboard.module.css';

const LOOKS = {
  bad: { icon: IconUrgent, color: 'var(--app-bad)', word: 'Urgent' },
  warn: { icon: IconAlertTriangle, color: 'var(--app-warn)', word: 'Warning' },
  info: { icon: IconInfoCircle, color: 'var(--app-info)', word: 'Hint' },
};

export function Attention({ status, history }: { status: ServiceStatus; history: readonly Sample[] }) {
  const found = findings(status, history);
  if (found.length === 0) {
    return (
      <Group gap={8} className={classes.calm} role="status">
        <IconCircleCheck size={18} style={{ color: 'var(--app-good)' }} aria-hidden />
        <Text size="sm">Nothing needs attention.</Text>
      </Group>
    );
  }
  return (
    <Card component="section" aria-label="What needs attention" p={0}>
      {found.map(({ id, tone, title, text, action }) => {
        const { icon: Icon, color, word } = LOOKS[tone];
        return (
          <div key={id} className={classes.finding} style={{ '--tone': color } as React.CSSProperties}>
            <Icon size={19} style={{ color, flex: 'none', marginTop: 1 }} aria-label={word} role="img" />
            <div style={{ flex: 1, minWidth: 0 }}>
              <Text fw={600} className="wrap">
                {title}
              </Text>
              <Text size="sm" c="dimmed" className="wrap">
                {text}
              </Text>
            </div>
            {action && (
              <LinkButton to={action.to} variant="default" size="xs">
                {action.label}
              </LinkButton>
            )}
          </div>
        );
      })}
    </Card>
  );
}
