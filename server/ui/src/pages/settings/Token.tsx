import { Button, Group, Stack, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useQueryClient } from '@tanstack/react-query';
import { asProblem, setToken, useMe, useToken, type Me } from '../../api';
import { TokenForm } from '../../app/TokenModal';
import { Panel } from '../../components';

export function Token() {
  const { token, remembered } = useToken();
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
        <Caller />
        <TokenForm
          onDone={() => {
            notifications.show({ message: 'The token is used from now on' });
          }}
        />
      </Stack>
    </Panel>
  );
}

const MAY: Record<Me['role'], string> = {
  read: 'you may look at everything, and change nothing',
  write: 'you may change segments and send events',
  admin: 'you may do everything, and see who changed what',
};

/** Who one is to the service, and what one may do. */
function Caller() {
  const { data: me, error } = useMe();
  if (!me) return error && asProblem(error).status === 401 ? <Text size="sm">Without a token that it knows, this service shows nothing.</Text> : null;
  return (
    <Text size="sm" data-testid="me">
      {me.tokens ? (
        <>
          To the service you are <b>{me.name}</b>, with the role <b>{me.role}</b>: {MAY[me.role]}.
        </>
      ) : (
        'This service asks for no token: everybody may do everything.'
      )}
    </Text>
  );
}
