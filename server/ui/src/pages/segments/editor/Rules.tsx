import { Autocomplete, Button, Group, NumberInput, Select, Text } from '@mantine/core';
import { IconClock, IconPlus, IconTrash } from '@tabler/icons-react';
import { Fragment, useRef } from 'react';
import { IconAction } from '../../../components';
import { OPERATORS } from '../words';
import { newRule, type FormDraft, type RuleDraft } from './draft';
import classes from './editor.module.css';
import { WindowInput } from './WindowInput';

const ATTRIBUTES = [
  { value: 'count', label: 'Number' },
  { value: 'sum', label: 'Sum of values' },
];
const COMPARISONS = Object.entries(OPERATORS).map(([value, label]) => ({ value, label }));

interface RulesProps {
  form: FormDraft;
  onChange: (form: FormDraft) => void;
  eventTypes: readonly string[];
  disabled: boolean;
}

/** Rules that must all hold. */
export function Rules({ form, onChange, eventTypes, disabled }: RulesProps) {
  const place = useRef<HTMLDivElement>(null);
  const set = (rules: RuleDraft[]) => {
    onChange({ ...form, rules });
  };
  const focusRule = (n: number) => {
    // After the rule has been drawn.
    requestAnimationFrame(() => place.current?.querySelectorAll<HTMLInputElement>('fieldset')[n]?.querySelector('input')?.focus());
  };
  return (
    <div ref={place}>
      {form.rules.map((rule, i) => (
        <Fragment key={rule.key}>
          {i > 0 && <div className={classes.and}>and</div>}
          <Rule
            n={i + 1}
            rule={rule}
            window={form.windowMinutes}
            eventTypes={eventTypes}
            disabled={disabled}
            onChange={(change) => {
              set(form.rules.map((r) => (r.key === rule.key ? { ...r, ...change } : r)));
            }}
            onRemove={
              form.rules.length > 1
                ? () => {
                    set(form.rules.filter((r) => r.key !== rule.key));
                    focusRule(Math.max(0, i - 1));
                  }
                : undefined
            }
          />
        </Fragment>
      ))}
      <Group justify="space-between" mt="sm" gap="sm">
        <Button
          variant="default"
          size="xs"
          leftSection={<IconPlus size={14} />}
          disabled={disabled}
          onClick={() => {
            set([...form.rules, newRule({ eventType: 'view', attribute: 'count', operator: 'GTE', value: 1 })]);
            focusRule(form.rules.length);
          }}
        >
          Add a rule
        </Button>
        <WindowInput
          label="Window"
          value={form.windowMinutes}
          disabled={disabled}
          onChange={(windowMinutes) => {
            onChange({ ...form, windowMinutes });
          }}
        />
      </Group>
    </div>
  );
}

interface RuleProps {
  n: number;
  rule: RuleDraft;
  window: number;
  eventTypes: readonly string[];
  disabled: boolean;
  onChange: (change: Partial<RuleDraft>) => void;
  onRemove?: () => void;
}

function Rule({ n, rule, window, eventTypes, disabled, onChange, onRemove }: RuleProps) {
  const own = rule.windowMinutes !== null;
  return (
    <fieldset className={classes.rule} aria-label={`Rule ${n}`} disabled={disabled}>
      <div className={classes.sentence}>
        <Select
          aria-label="Attribute"
          data={ATTRIBUTES}
          value={rule.attribute}
          allowDeselect={false}
          size="sm"
          w={138}
          onChange={(attribute) => {
            if (attribute) onChange({ attribute });
          }}
        />
        <Text size="sm" c="dimmed" component="span">
          of
        </Text>
        <Autocomplete
          aria-label="Event type"
          data={[...eventTypes]}
          value={rule.eventType}
          size="sm"
          style={{ flex: 1, minWidth: 96 }}
          classNames={{ input: 'mono' }}
          onChange={(eventType) => {
            onChange({ eventType });
          }}
        />
        <Text size="sm" c="dimmed" component="span" visibleFrom="xs">
          events
        </Text>
      </div>
      <div className={classes.sentence}>
        <Text size="sm" c="dimmed" component="span">
          is
        </Text>
        <Select
          aria-label="Operator"
          data={COMPARISONS}
          value={rule.operator}
          allowDeselect={false}
          size="sm"
          w={112}
          onChange={(operator) => {
            if (operator) onChange({ operator });
          }}
        />
        <NumberInput
          aria-label="Value"
          value={rule.value}
          size="sm"
          hideControls
          onChange={(value) => {
            const number = typeof value === 'string' ? Number.parseFloat(value) : value;
            onChange({ value: Number.isFinite(number) ? number : '' });
          }}
        />
        <IconAction
          label={own ? 'Use the window of the segment' : 'Give this rule a window of its own'}
          aria-pressed={own}
          size="lg"
          variant={own ? 'light' : 'subtle'}
          color={own ? 'cobalt' : 'gray'}
          disabled={disabled}
          onClick={() => {
            onChange({ windowMinutes: own ? null : window });
          }}
        >
          <IconClock size={17} />
        </IconAction>
        {onRemove && (
          <IconAction label="Remove this rule" name={`Remove rule ${n}`} size="lg" disabled={disabled} onClick={onRemove}>
            <IconTrash size={17} />
          </IconAction>
        )}
      </div>
      {own && (
        <WindowInput
          label="Window of this rule"
          value={rule.windowMinutes ?? window}
          disabled={disabled}
          onChange={(windowMinutes) => {
            onChange({ windowMinutes });
          }}
        />
      )}
    </fieldset>
  );
}
