import { Button, Group, SegmentedControl, Skeleton, Text } from '@mantine/core';
import { IconDownload, IconRefresh } from '@tabler/icons-react';
import type { Style } from '../../api';
import { CopyButton, Panel, ProblemAlert } from '../../components';
import { formatCount } from '../../lib/format';
import classes from './explain.module.css';

const FORMATS: { value: Style; label: string; file: string }[] = [
  { value: 'tree', label: 'Tree', file: 'txt' },
  { value: 'indent', label: 'Indent', file: 'txt' },
  { value: 'graphviz', label: 'Graphviz', file: 'dot' },
  { value: 'json', label: 'JSON', file: 'json' },
];

/** More lines would only make the page slow. */
const LINES = 3_000;

function download(text: string, name: string) {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  const link = document.createElement('a');
  [link.href, link.download] = [url, name];
  link.click();
  URL.revokeObjectURL(url);
}

interface AsTextProps {
  description: string;
  format: Style;
  onFormat: (format: Style) => void;
  /** The text in this form; `data` is `undefined` while it is loaded. */
  text: { data: string | undefined; error: unknown; isFetching: boolean; refetch: () => unknown };
}

/** A plan in the forms that go into tickets and other programs. */
export function AsText({ description, format, onFormat, text: { data: text, error, isFetching, refetch } }: AsTextProps) {
  const lines = text?.split('\n') ?? [];
  const file = `plan.${FORMATS.find((f) => f.value === format)?.file ?? 'txt'}`;
  return (
    <Panel
      title="As text"
      description={description}
      actions={
        <Group gap={4} wrap="nowrap">
          <Button variant="subtle" color="gray" size="compact-sm" leftSection={<IconRefresh size={15} />} loading={isFetching} onClick={() => void refetch()}>
            Read anew
          </Button>
          <Button
            variant="subtle"
            color="gray"
            size="compact-sm"
            visibleFrom="sm"
            leftSection={<IconDownload size={15} />}
            disabled={text === undefined}
            onClick={() => {
              download(text ?? '', file);
            }}
          >
            Download
          </Button>
          <CopyButton value={text ?? ''} what="the plan" />
        </Group>
      }
    >
      <SegmentedControl
        aria-label="Form of the text"
        size="xs"
        mb="xs"
        value={format}
        onChange={(value) => {
          onFormat(value as Style);
        }}
        data={FORMATS.map(({ value, label }) => ({ value, label }))}
      />
      {text === undefined ? (
        error ? (
          <ProblemAlert error={error} onRetry={() => void refetch()} />
        ) : (
          <Skeleton height={180} />
        )
      ) : (
        <>
          <pre className={classes.text} tabIndex={0} aria-label="The plan as text">
            {lines.slice(0, LINES).join('\n')}
          </pre>
          {lines.length > LINES && (
            <Text size="sm" c="dimmed" mt={6}>
              The first {formatCount(LINES)} of {formatCount(lines.length)} lines; copy or download it to have them all.
            </Text>
          )}
        </>
      )}
    </Panel>
  );
}
