import { Skeleton, Table, Text, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { useState } from 'react';
import { useConfig } from '../../api';
import { Breakable, CopyButton, Panel, ProblemAlert } from '../../components';
import { flatten } from './flatten';

/** The effective configuration, without secrets. */
export function Configuration() {
  const { data: config, error, isLoading } = useConfig();
  const [text, setText] = useState('');
  const rows = config ? flatten(config).filter(([key]) => key.includes(text.trim().toLowerCase())) : [];
  return (
    <Panel
      title="Configuration"
      description="What is in force: defaults, file, environment and command line. Secrets are left out."
      actions={config && <CopyButton value={JSON.stringify(config, null, 2)} what="the configuration" />}
      flush
    >
      {error && (
        <div style={{ padding: 16 }}>
          <ProblemAlert error={error} />
        </div>
      )}
      {isLoading && <Skeleton height={120} m="md" w="auto" />}
      {config && (
        <>
          <TextInput
            mx="md"
            mb="xs"
            maw={340}
            placeholder="Search keys"
            aria-label="Search keys"
            leftSection={<IconSearch size={15} />}
            value={text}
            onChange={(event) => {
              setText(event.currentTarget.value);
            }}
          />
          <Table horizontalSpacing="md" verticalSpacing={5} aria-label="Configuration">
            <Table.Tbody>
              {rows.map(([key, value]) => (
                <Table.Tr key={key}>
                  <Table.Th scope="row" className="mono wrap" fw={450} w="45%">
                    <Breakable text={key} />
                  </Table.Th>
                  <Table.Td className="mono wrap">{value === '' ? <Text c="dimmed" inherit>not set</Text> : value}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </>
      )}
    </Panel>
  );
}
