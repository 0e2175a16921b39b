import { Button, Group, Stack, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useQueryClient } from '@tanstack/react-query';
import { setToken, useMe, useToken } from '../../api';
import { TokenForm } from '../../app/TokenModal';
import { Panel } from '../../components';

export function Token() {
  const { token, remembered } = useToken();
  const { data: me } = useMe();
  const queries = useQueryClient();
  const place = remembered ? 'remembered in this browser' : 'kept until this tab is closed';
  return (
    <Panel title="Token" description="Only services that are configured with tokens ask for one.">
      <Stack gap="sm" maw={460} mt="xs">
        <Group justify="space-between" gap="sm">
          <Text>{token ? `A token is ${place}.` : 'This browser sends no token.'}</Text>
          {token && (
            <Button
              variant="default"
              size="xs"
              onClick={() => {
                setToken(null, false);
                void queries.resetQueries();
                notifications.show({ message: 'The token is forgotten' });
              }}
            >
              Forget it
            </Button>
          )}
        </Group>
        {me && <Text size="sm" c="dimmed">{`To the service you are ${me.name}, with the role ${me.role}.`}</Text>}
        <TokenForm
          onDone={() => {
            notifications.show({ message: 'The token is used from now on' });
          }}
        />
      </Stack>
    </Panel>
  );
}
