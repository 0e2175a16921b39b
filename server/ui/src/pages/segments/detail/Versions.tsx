import { Badge } from '@mantine/core';
import { IconHistory } from '@tabler/icons-react';
import { useVersions, type Change, type Segment } from '../../../api';
import { DataTable, EmptyState, LinkButton, Moment, Panel, ProblemAlert, TextLink, type Column } from '../../../components';
import { actionInWords } from '../words';

/** Who changed what, in short; the editor compares. */
export function Versions({ segment }: { segment: Segment }) {
  const { data, error, refetch } = useVersions(segment.name);
  if (error && !data) return <ProblemAlert error={error} onRetry={() => void refetch()} />;
  const columns: Column<Change>[] = [
    {
      id: 'version',
      header: 'Version',
      cell: (c) => (
        <>
          <TextLink to="/segments/$name/edit" params={{ name: segment.name }} search={{ version: c.version }} aria-label={`Version ${c.version} in the editor`}>
            {c.version}
          </TextLink>
          {c === data?.[0] && (
            <Badge size="sm" color="green" ml={6}>
              now
            </Badge>
          )}
        </>
      ),
    },
    { id: 'action', header: 'What', cell: (c) => actionInWords(c.action) },
    { id: 'by', header: 'By', cell: (c) => c.by },
    { id: 'at', header: 'When', cell: (c) => <Moment at={c.at} /> },
  ];
  return (
    <Panel
      title="Versions"
      description="Who changed what, newest first. A version opens in the editor."
      actions={
        <LinkButton to="/segments/$name/edit" params={{ name: segment.name }} variant="default" size="sm" leftSection={<IconHistory size={16} />}>
          Compare in the editor
        </LinkButton>
      }
      flush
    >
      <DataTable label="Versions" columns={columns} rows={data} rowKey={(c) => c.revision} pageSize={20} empty={<EmptyState title="No versions" />} />
    </Panel>
  );
}
