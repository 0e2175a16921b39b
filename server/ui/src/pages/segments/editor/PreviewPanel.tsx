import { Button, Group, Select, Text } from '@mantine/core';
import { IconPlayerPlay } from '@tabler/icons-react';
import { useMemo } from 'react';
import type { Compared, Preview, TextError } from '../../../api';
import { EmptyState, GenerateLink, LiveChart, Panel, ProblemAlert, UserLink } from '../../../components';
import { formatCount, formatDuration, plural } from '../../../lib/format';
import classes from './editor.module.css';
import { fillMinutes } from './sizes';

export const SPANS = [
  { value: '15', label: 'Last 15 minutes' },
  { value: '60', label: 'Last hour' },
  { value: '1440', label: 'Last day' },
  { value: 'all', label: 'All that are kept' },
];

interface PreviewPanelProps {
  span: string;
  onSpan: (span: string) => void;
  onRun: () => void;
  running: boolean;
  /** Whether there is anything that can be run. */
  ready: boolean;
  preview: Preview | undefined;
  /** Whether the segment has changed since. */
  stale: boolean;
  error: unknown;
  errors: readonly TextError[];
}

function Users({ title, count, ids }: { title: string; count: number; ids: readonly string[] }) {
  return (
    <div>
      <Text size="sm" fw={600}>
        {title} <span className="num">{formatCount(count)}</span>
      </Text>
      {count === 0 ? (
        <Text size="sm" c="dimmed">
          Nobody
        </Text>
      ) : (
        <ul className={classes.users} aria-label={title}>
          {ids.map((id) => (
            <li key={id}>
              <UserLink id={id} />
            </li>
          ))}
          {count > ids.length && <li>and {plural(count - ids.length, 'other')}</li>}
        </ul>
      )}
    </div>
  );
}

/** What runs and what is edited, over the same events. */
function Versions({ compared }: { compared: Compared }) {
  const { before, after, both, wouldEnter, wouldLeave } = compared;
  const rows = [
    ['Members', before?.members, after?.members],
    ['Entered', before?.entered, after?.entered],
    ['Left', before?.exited, after?.exited],
  ] as const;
  return (
    <div style={{ marginTop: 12 }}>
      <Text size="sm" fw={600}>
        By the same events
      </Text>
      <table className={classes.compared} aria-label="Versions compared">
        <thead>
          <tr>
            <td />
            <th scope="col">As it runs</th>
            <th scope="col">As edited</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([term, old, edited]) => (
            <tr key={term}>
              <th scope="row">{term}</th>
              <td className="num">{formatCount(old ?? 0)}</td>
              <td className="num">{formatCount(edited ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <Text size="sm" c="dimmed" data-testid="versions-in-words">
        {`${plural(both, 'member')} in both, ${formatCount(wouldEnter.count)} would enter, ${formatCount(wouldLeave.count)} would leave.`}
      </Text>
    </div>
  );
}

function Found({ preview }: { preview: Preview }) {
  const { overTime, difference, comparison } = preview;
  const points = useMemo(() => fillMinutes(overTime), [overTime]);
  const numbers = [
    ['Members', formatCount(preview.size)],
    ['Entered', formatCount(preview.entered)],
    ['Left', formatCount(preview.exited)],
    ['Events read', formatCount(preview.rows)],
    ['Took', formatDuration(preview.millis)],
  ];
  if (preview.rows === 0) {
    return (
      <EmptyState
        title="There are no events to try it on"
        text="A preview runs over the events that are kept, and there are none of this time."
        action={<GenerateLink />}
      />
    );
  }
  return (
    <div className={classes.preview} data-testid="preview">
      <div>
        <dl className={classes.numbers}>
          {numbers.map(([term, value]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd className="num">{value}</dd>
            </div>
          ))}
        </dl>
        {preview.partial && (
          <Text size="sm" mt="xs" style={{ color: 'var(--app-warn)' }}>
            It was ended before all events were read; take a shorter time.
          </Text>
        )}
        {points.length > 1 && (
          <div style={{ marginTop: 12 }}>
            <LiveChart label="Members over time" times={points.map((p) => p.time)} series={[{ label: 'Members', values: points.map((p) => p.size) }]} height={150} format={formatCount} />
          </div>
        )}
      </div>
      <div style={{ display: 'grid', gap: 12, alignContent: 'start' }}>
        {difference ? (
          <>
            <Users title="Would enter" count={difference.added} ids={difference.added_sample} />
            <Users title="Would leave" count={difference.removed} ids={difference.removed_sample} />
          </>
        ) : (
          <Users title="Members" count={preview.size} ids={preview.sample} />
        )}
        {comparison && <Versions compared={comparison} />}
      </div>
    </div>
  );
}

/** What the segment would have been over the events that are kept, before it runs. */
export function PreviewPanel({ span, onSpan, onRun, running, ready, preview, stale, error, errors }: PreviewPanelProps) {
  return (
    <Panel
      title="Preview"
      description={preview && stale ? 'It has changed since this preview' : 'Who would be in it, by the events that are kept'}
      actions={
        <Group gap="xs" wrap="nowrap">
          <Select
            aria-label="Events of"
            data={SPANS}
            value={span}
            allowDeselect={false}
            size="xs"
            w={150}
            onChange={(value) => {
              if (value) onSpan(value);
            }}
          />
          <Button size="xs" variant="light" leftSection={<IconPlayerPlay size={14} />} loading={running} disabled={!ready} onClick={onRun}>
            {preview ? 'Run again' : 'Run preview'}
          </Button>
        </Group>
      }
    >
      <ProblemAlert error={error} />
      {!error && preview && (
        <div style={{ opacity: stale ? 0.62 : 1 }}>
          <Found preview={preview} />
        </div>
      )}
      {!error && !preview && (
        <Text size="sm" c="dimmed">
          {errors.length > 0 ? 'It can run when the errors are gone.' : 'Nothing is changed by a preview: no results, no members.'}
        </Text>
      )}
    </Panel>
  );
}
