import { Button, Group, Select, Switch, Text, Textarea } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import type { Segment } from '../../../api';
import { IconAction } from '../../../components';
import { minutesInWords, expressionOf } from '../words';
import { minutesOf, newDependency, type DependencyDraft, type FormDraft } from './draft';
import classes from './editor.module.css';

const OPERATORS = [
  { value: 'AND', label: 'and in' },
  { value: 'OR', label: 'or in' },
  { value: 'NOT', label: 'but not in' },
];

interface CombinationProps {
  form: FormDraft;
  onChange: (form: FormDraft) => void;
  /** Segments that may be picked. */
  segments: readonly Segment[];
  disabled: boolean;
}

/** Segments combined by AND, OR and NOT. All of them have the same window. */
export function Combination({ form, onChange, segments, disabled }: CombinationProps) {
  const minutes = new Map(segments.map((s) => [s.name, minutesOf(s.window)]));
  const first = form.dependencies.find((d) => d.segment !== '');
  const window = first ? (minutes.get(first.segment) ?? form.windowMinutes) : null;

  const set = (dependencies: DependencyDraft[]) => {
    const lead = dependencies.find((d) => d.segment !== '')?.segment;
    const windowMinutes = (lead === undefined ? undefined : minutes.get(lead)) ?? form.windowMinutes;
    onChange({ ...form, dependencies, windowMinutes });
  };
  const options = (own: string) => {
    const running = segments.filter((s) => s.active || s.name === own);
    const known = running.map(({ name }) => {
      const length = minutes.get(name);
      const fits = name === own || (length != null && (window === null || length === window || form.dependencies.length === 1));
      const why = length == null ? 'only in SQL' : `window of ${minutesInWords(length)}`;
      return { value: name, label: fits ? name : `${name} (${why})`, disabled: !fits };
    });
    return [...(own !== '' && !known.some((o) => o.value === own) ? [{ value: own, label: own, disabled: false }] : []), ...known];
  };

  return (
    <div>
      {form.dependencies.map((dependency, i) => (
        <fieldset key={dependency.key} className={classes.dependency} aria-label={`Segment ${i + 1}`} disabled={disabled}>
          {i === 0 ? (
            <Text size="sm" c="dimmed" component="span" className={classes.lead}>
              Users in
            </Text>
          ) : (
            <Select
              aria-label="How it combines"
              data={OPERATORS}
              value={dependency.operator}
              allowDeselect={false}
              disabled={form.expression !== null}
              size="sm"
              className={classes.lead}
              onChange={(operator) => {
                if (operator) set(form.dependencies.map((d) => (d.key === dependency.key ? { ...d, operator } : d)));
              }}
            />
          )}
          <Select
            aria-label="Segment"
            data={options(dependency.segment)}
            value={dependency.segment || null}
            placeholder="Pick a segment"
            searchable
            allowDeselect={false}
            nothingFoundMessage="No active segment of that name"
            limit={100}
            size="sm"
            style={{ flex: 1, minWidth: 0 }}
            onChange={(segment) => {
              if (segment) set(form.dependencies.map((d) => (d.key === dependency.key ? { ...d, segment } : d)));
            }}
          />
          {form.dependencies.length > 1 && (
            <IconAction
              label="Remove this segment"
              name={`Remove segment ${i + 1}`}
              size="lg"
              disabled={disabled}
              onClick={() => {
                set(form.dependencies.filter((d) => d.key !== dependency.key));
              }}
            >
              <IconTrash size={17} />
            </IconAction>
          )}
        </fieldset>
      ))}
      <Group justify="space-between" mt="sm" gap="sm">
        <Button
          variant="default"
          size="xs"
          leftSection={<IconPlus size={14} />}
          disabled={disabled}
          onClick={() => {
            set([...form.dependencies, newDependency()]);
          }}
        >
          Add a segment
        </Button>
        <Switch
          size="xs"
          label="Write the expression"
          checked={form.expression !== null}
          disabled={disabled}
          onChange={(event) => {
            const picked = form.dependencies.filter((d) => d.segment !== '');
            onChange({ ...form, expression: event.currentTarget.checked ? expressionOf(picked) : null });
          }}
        />
      </Group>
      {form.expression !== null && (
        <Textarea
          mt="sm"
          label="Expression"
          description="Names with AND, OR, NOT and parentheses; names with spaces in double quotes."
          value={form.expression}
          disabled={disabled}
          autosize
          minRows={2}
          classNames={{ input: 'mono' }}
          onChange={(event) => {
            onChange({ ...form, expression: event.currentTarget.value });
          }}
        />
      )}
      {window !== null && (
        <Text size="sm" c="dimmed" mt="sm">
          All of them have a window of {minutesInWords(window)}; only such segments can be combined here.
        </Text>
      )}
    </div>
  );
}
