import { Autocomplete, Button, Group, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useUserSearch } from '../../api';
import { plural } from '../../lib/format';

/** A user id with completion from those who are in a segment; any other id can be looked up too. */
export function UserSearch({ large = false }: { large?: boolean }) {
  const navigate = useNavigate();
  const [text, setText] = useState('');
  const [typed] = useDebouncedValue(text.trim(), 150);
  const { data } = useUserSearch(typed);
  const found = text.trim() === '' ? [] : (data ?? []).filter((u) => u.userId.startsWith(text.trim()));
  const segments = new Map(found.map((u) => [u.userId, u.segments]));
  const open = (userId: string) => {
    if (userId === '') return;
    setText('');
    void navigate({ to: '/users/$userId', params: { userId } });
  };
  return (
    <form
      role="search"
      aria-label="Users"
      onSubmit={(event) => {
        event.preventDefault();
        open(text.trim());
      }}
    >
      <Group gap="xs" wrap="nowrap">
        <Autocomplete
          aria-label="User id"
          placeholder={large ? 'User id, or how it begins' : 'Another user'}
          size={large ? 'md' : 'sm'}
          w={large ? '100%' : 200}
          leftSection={<IconSearch size={16} aria-hidden />}
          value={text}
          onChange={setText}
          onOptionSubmit={open}
          data={found.map((u) => u.userId)}
          filter={({ options }) => options}
          renderOption={({ option }) => (
            <Group justify="space-between" wrap="nowrap" gap="xs" w="100%">
              <span className="mono wrap">{option.value}</span>
              <Text size="xs" c="dimmed" component="span" style={{ flex: 'none' }}>
                {plural(segments.get(option.value) ?? 0, 'segment')}
              </Text>
            </Group>
          )}
          maxDropdownHeight={320}
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          data-autofocus={large || undefined}
        />
        {large && (
          <Button type="submit" size="md" style={{ flex: 'none' }} disabled={text.trim() === ''}>
            Look up
          </Button>
        )}
      </Group>
    </form>
  );
}
