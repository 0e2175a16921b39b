import { Group, Loader, Text, UnstyledButton } from '@mantine/core';
import { IconAlertCircle } from '@tabler/icons-react';
import { useRef } from 'react';
import type { TextError } from '../../../api';
import { CopyButton, Panel, SqlEditor, StatusDot, type SqlEditorHandle } from '../../../components';
import { plural } from '../../../lib/format';
import { completeValues } from './complete';
import classes from './editor.module.css';

interface SqlPanelProps {
  sql: string;
  onChange: (sql: string) => void;
  errors: readonly TextError[];
  checking: boolean;
  /** What was checked is right. */
  right: boolean;
  /** Whether the text alone is the segment; it cannot be edited otherwise. */
  fits: boolean;
  segments: readonly string[];
  onSubmit: () => void;
}

function CheckState({ checking, right, errors }: Pick<SqlPanelProps, 'checking' | 'right' | 'errors'>) {
  return (
    <Group gap={8} wrap="nowrap" role="status">
      {checking ? <Loader size={10} /> : <StatusDot tone={errors.length > 0 ? 'bad' : right ? 'good' : 'idle'} size={7} />}
      <span>{checking ? 'Checking' : errors.length > 0 ? plural(errors.length, 'error') : right ? 'No errors' : 'Nothing to check yet'}</span>
    </Group>
  );
}

/** The SQL, with its errors where they are. */
export function SqlPanel({ sql, onChange, errors, checking, right, fits, segments, onSubmit }: SqlPanelProps) {
  const editor = useRef<SqlEditorHandle>(null);
  return (
    <Panel title="SQL" description={<CheckState checking={checking} right={right} errors={errors} />} actions={<CopyButton value={sql} what="the SQL" />} style={{ height: '100%' }}>
      <SqlEditor
        ref={editor}
        label="SQL of the segment"
        value={sql}
        onChange={onChange}
        readOnly={!fits}
        errors={errors}
        segments={segments}
        complete={completeValues}
        minHeight={190}
        maxHeight={420}
        placeholder="SELECT user_id, … FROM TUMBLE(events, event_time, INTERVAL '5 minutes') …"
        onSubmit={onSubmit}
      />
      {!fits && (
        <Text size="sm" c="dimmed" mt="xs">
          Rules with windows of their own are several queries, so they are edited as rules.
        </Text>
      )}
      {errors.length > 0 && (
        <ul className={classes.errors} aria-label="Errors">
          {errors.map((e, i) => (
            <li key={i}>
              <IconAlertCircle size={16} aria-hidden />
              <div>
                <span className="wrap">{e.message}</span>
                {e.line != null && (
                  <UnstyledButton
                    className={classes.place}
                    onClick={() => {
                      editor.current?.goTo(e.line ?? 1, e.column ?? 1);
                    }}
                  >
                    line {e.line}, column {e.column ?? 1}
                  </UnstyledButton>
                )}
                {e.hint && <div className={classes.hint}>{e.hint}</div>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
