// A segment while it is being written: as rules or a combination (its form), and as SQL. One side is what the user
// wrote last; the other one follows from it.
import type { Change, Segment, SegmentForm, SegmentInput } from '../../../api';
import { expressionOf, rulesInWords } from '../words';

export type Side = 'form' | 'sql';
export type FormType = 'INDEPENDENT' | 'DERIVED';

export interface RuleDraft {
  key: number;
  eventType: string;
  attribute: string;
  operator: string;
  /** Empty while it is being typed. */
  value: number | '';
  /** A window of its own; the window of the segment otherwise. */
  windowMinutes: number | null;
}

export interface DependencyDraft {
  key: number;
  segment: string;
  operator: string;
}

export interface FormDraft {
  type: FormType;
  windowMinutes: number;
  rules: RuleDraft[];
  dependencies: DependencyDraft[];
  /** Written by the user, in place of the operators of the dependencies. */
  expression: string | null;
}

export interface Draft {
  name: string;
  description: string;
  side: Side;
  form: FormDraft;
  /** Whether the form says what the SQL says. */
  formFits: boolean;
  sql: string;
  /** Whether the SQL alone is the segment. */
  sqlFits: boolean;
}

let nextKey = 0;

export const newRule = (rule: Partial<RuleDraft> = {}): RuleDraft => ({
  eventType: 'purchase',
  attribute: 'sum',
  operator: 'GT',
  value: 500,
  windowMinutes: null,
  ...rule,
  key: nextKey++,
});

export const newDependency = (segment = '', operator = 'AND'): DependencyDraft => ({ key: nextKey++, segment, operator });

const newForm = (): FormDraft => ({ type: 'INDEPENDENT', windowMinutes: 5, rules: [newRule()], dependencies: [newDependency()], expression: null });

export const newDraft = (): Draft => ({ name: '', description: '', side: 'form', form: newForm(), formFits: true, sql: '', sqlFits: true });

/** Names for ids, as dependencies may have either. */
export type Names = ReadonlyMap<string, string>;

/** What the API calls a form, as a draft; `null` when it is none. */
export function formOf(given: SegmentForm | null | undefined, names: Names): FormDraft | null {
  if (!given) return null;
  const { type, rules = [], dependencies = [], windowMinutes, logicalExpression } = given;
  if (type === 'DERIVED') {
    return {
      ...newForm(),
      type,
      windowMinutes: windowMinutes ?? 5,
      dependencies: dependencies.map((d) => newDependency(names.get(d.independentSegmentId) ?? d.independentSegmentId, d.logicalOperator.toUpperCase())),
      expression: logicalExpression ? logicalExpression : null,
    };
  }
  if (rules.length === 0) return null;
  const minutes = windowMinutes ?? rules[0]?.windowMinutes ?? 5;
  return {
    ...newForm(),
    windowMinutes: minutes,
    rules: rules.map((r) =>
      newRule({
        eventType: r.eventType,
        attribute: r.attribute.toLowerCase(),
        operator: r.operator.toUpperCase(),
        value: r.value,
        windowMinutes: r.windowMinutes != null && r.windowMinutes !== minutes ? r.windowMinutes : null,
      }),
    ),
  };
}

/** The query of the statement that the API made of a form. */
const queryOf = (sql: string) => sql.replace(/^\s*create segment "(?:[^"]|"")*" as\s+/i, '');

/** A segment as it is, to be edited. */
export function draftOf(segment: Segment, names: Names): Draft {
  const form = formOf(segment.type && segment.type !== 'SQL' ? segment : null, names);
  return {
    name: segment.name,
    description: segment.description,
    side: form ? 'form' : 'sql',
    form: form ?? newForm(),
    formFits: form !== null,
    sql: form ? queryOf(segment.sql) : segment.sql,
    sqlFits: true,
  };
}

interface Body extends SegmentForm {
  sql?: string;
  name?: string;
}

/** What a segment was made from in a version, in the place of what a draft has. */
export function withVersion(draft: Draft, change: Change, names: Names): Draft {
  const body = change.body as Body;
  const form = body.sql === undefined ? formOf(body, names) : null;
  if (form) return { ...draft, name: change.name, side: 'form', form, formFits: true };
  return { ...draft, name: change.name, side: 'sql', sql: body.sql ?? '', sqlFits: true, formFits: false };
}

/** What is still to be said before a form means anything. */
export function missing(draft: Draft): string | null {
  if (draft.side === 'sql') return draft.sql.trim() === '' ? 'Write a query, or add a rule.' : null;
  const { type, rules, dependencies, expression, windowMinutes } = draft.form;
  if (!(windowMinutes >= 1)) return 'Say how long the window is.';
  if (type === 'DERIVED') {
    if (expression !== null) return expression.trim() === '' ? 'Write how segments combine.' : null;
    return dependencies.length === 0 || dependencies.some((d) => d.segment === '') ? 'Pick a segment.' : null;
  }
  if (rules.length === 0) return 'Add a rule.';
  if (rules.some((r) => r.eventType.trim() === '')) return 'Say which events a rule is about.';
  return rules.some((r) => r.value === '') ? 'Say what a rule compares with.' : null;
}

/** What the API takes, without name and description. */
export function meaningOf({ side, form, sql }: Pick<Draft, 'side' | 'form' | 'sql'>): SegmentInput {
  if (side === 'sql') return { sql };
  const { type, windowMinutes, rules, dependencies, expression } = form;
  if (type === 'DERIVED') {
    return {
      type,
      windowMinutes,
      dependencies: dependencies.filter((d) => d.segment !== '').map((d) => ({ independentSegmentId: d.segment, logicalOperator: d.operator })),
      ...(expression === null ? {} : { logicalExpression: expression }),
    };
  }
  return {
    type,
    windowMinutes,
    rules: rules.map(({ eventType, attribute, operator, value, windowMinutes: own }) => ({
      eventType: eventType.trim(),
      attribute,
      operator,
      value: Number(value),
      ...(own === null ? {} : { windowMinutes: own }),
    })),
  };
}

/** What is saved. */
export const bodyOf = (draft: Draft): SegmentInput => ({ name: draft.name.trim(), description: draft.description.trim(), ...meaningOf(draft) });

export const isChanged = (draft: Draft, saved: Draft): boolean => JSON.stringify(bodyOf(draft)) !== JSON.stringify(bodyOf(saved));

const UNITS: Record<string, number> = { second: 1 / 60, minute: 1, hour: 60, day: 1440 };

/**
 * The size of a window in minutes, from how the API writes it: `TUMBLE 5 minutes`, `HOP 1 hour by 5 minutes`; `null` for what
 * forms cannot say: sessions, and windows that are no whole minutes.
 */
export function minutesOf(window: string | null | undefined): number | null {
  const found = /^(?:TUMBLE|HOP|CUMULATE) (\d+) (second|minute|hour|day)s?\b/.exec(window ?? '');
  const minutes = found ? Number(found[1]) * (UNITS[found[2] ?? ''] ?? 1) : null;
  return Number.isInteger(minutes) ? minutes : null;
}

/** A form as a sentence or an expression. */
export function inWords(form: FormDraft): string {
  if (form.type === 'INDEPENDENT') return rulesInWords(form.rules, form.windowMinutes);
  return form.expression ?? expressionOf(form.dependencies.filter((d) => d.segment !== ''));
}

/** A version as lines of text, to be compared. */
export function versionText(change: Pick<Change, 'name' | 'body' | 'active'>, names: Names): string {
  const body = change.body as Body;
  const lines = [`Name: ${change.name}`];
  if (body.sql !== undefined) return [...lines, '', body.sql].join('\n');
  const form = formOf(body, names);
  if (!form) return [...lines, '', JSON.stringify(body, null, 2)].join('\n');
  lines.push(`Window: ${form.windowMinutes} min`);
  if (form.type === 'DERIVED') return [...lines, `Members: ${inWords(form)}`].join('\n');
  return [...lines, ...form.rules.map((r) => `Rule: ${rulesInWords([r], r.windowMinutes ?? form.windowMinutes).replace(/^Users with /, '').replace(/\.$/, '')}`)].join('\n');
}
