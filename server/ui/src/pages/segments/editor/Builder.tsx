import { Button, SegmentedControl, Text } from '@mantine/core';
import { IconCode } from '@tabler/icons-react';
import type { Segment } from '../../../api';
import { EmptyState, Panel } from '../../../components';
import { Combination } from './Combination';
import type { FormDraft, FormType } from './draft';
import classes from './editor.module.css';
import { Rules } from './Rules';

interface BuilderProps {
  form: FormDraft;
  /** Whether the form says what the SQL says; there is a way back from SQL that says more. */
  fits: boolean;
  /** The SQL cannot be read for now. */
  stale: boolean;
  onChange: (form: FormDraft) => void;
  segments: readonly Segment[];
  eventTypes: readonly string[];
  words: string;
  errors: readonly string[];
}

const TYPES: { value: FormType; label: string }[] = [
  { value: 'INDEPENDENT', label: 'Events' },
  { value: 'DERIVED', label: 'Segments' },
];

/** A segment as rules over events, or as a combination of segments. */
export function Builder({ form, fits, stale, onChange, segments, eventTypes, words, errors }: BuilderProps) {
  const part = { form, onChange, disabled: stale };
  return (
    <Panel
      title="Builder"
      description={form.type === 'DERIVED' ? 'Users by the segments that they are in' : 'Users by what they did; all rules must hold'}
      style={{ height: '100%' }}
      actions={
        <SegmentedControl
          aria-label="Built from"
          data={TYPES}
          value={form.type}
          size="xs"
          disabled={stale || !fits}
          onChange={(type) => {
            onChange({ ...form, type: type as FormType });
          }}
        />
      }
    >
      {fits ? (
        <>
          {form.type === 'DERIVED' ? <Combination {...part} segments={segments} /> : <Rules {...part} eventTypes={eventTypes} />}
          {stale ? (
            <Text size="sm" c="dimmed" mt="sm" role="status">
              The rules follow when the SQL is right.
            </Text>
          ) : (
            words !== '' && (
              <p className={classes.words} data-testid="in-words">
                {words}
              </p>
            )
          )}
          {errors.map((message) => (
            <Text key={message} size="sm" className={`wrap ${classes.error ?? ''}`} role="alert">
              {message}
            </Text>
          ))}
        </>
      ) : (
        <EmptyState
          icon={IconCode}
          title="Only SQL can say this"
          text="The query says more than rules can. Go on in the SQL, or start over with rules, which replace it."
          action={
            <Button
              variant="default"
              size="xs"
              onClick={() => {
                onChange(form);
              }}
            >
              Start over with rules
            </Button>
          }
        />
      )}
    </Panel>
  );
}
