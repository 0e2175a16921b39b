import { describe, expect, it } from 'vitest';
import type { Segment } from '../../../api';
import { bodyOf, draftOf, isChanged, meaningOf, minutesOf, missing, newDraft, newRule, versionText, withVersion } from './draft';

const names = new Map([['id-1', 'High Spenders']]);
const segment = (body: object) => ({ name: 'x', description: 'd', sql: '', active: true, ...body }) as Segment;

const rules = segment({
  type: 'INDEPENDENT',
  windowMinutes: 5,
  rules: [
    { eventType: 'orders', attribute: 'SUM', operator: 'gt', value: 500 },
    { eventType: 'view', attribute: 'count', operator: 'GTE', value: 2, windowMinutes: 60 },
  ],
  sql: 'CREATE SEGMENT "x ""y""" AS\nSELECT 1',
});

describe('draftOf', () => {
  it('takes rules as a form, with windows of their own only where they differ', () => {
    const draft = draftOf(rules, names);
    expect(draft).toMatchObject({ side: 'form', formFits: true, sql: 'SELECT 1' });
    expect(draft.form.rules).toMatchObject([
      { attribute: 'sum', operator: 'GT', value: 500, windowMinutes: null },
      { attribute: 'count', windowMinutes: 60 },
    ]);
  });
  it('calls dependencies by name', () => {
    const draft = draftOf(segment({ type: 'DERIVED', windowMinutes: 5, dependencies: [{ independentSegmentId: 'id-1', logicalOperator: 'and' }] }), names);
    expect(draft.form.dependencies).toMatchObject([{ segment: 'High Spenders', operator: 'AND' }]);
  });
  it('takes SQL as it is', () => {
    const sql = 'CREATE SEGMENT x AS\nSELECT 1';
    expect(draftOf(segment({ sql }), names)).toMatchObject({ side: 'sql', formFits: false, sql });
  });
});

describe('bodyOf', () => {
  it('gives back what was taken', () => {
    expect(bodyOf(draftOf(rules, names))).toEqual({
      name: 'x',
      description: 'd',
      type: 'INDEPENDENT',
      windowMinutes: 5,
      rules: [
        { eventType: 'orders', attribute: 'sum', operator: 'GT', value: 500 },
        { eventType: 'view', attribute: 'count', operator: 'GTE', value: 2, windowMinutes: 60 },
      ],
    });
  });
  it('has nothing but the SQL of that side', () => {
    expect(meaningOf({ ...newDraft(), side: 'sql', sql: 'SELECT 1' })).toEqual({ sql: 'SELECT 1' });
  });
  it('tells changes', () => {
    const draft = draftOf(rules, names);
    expect(isChanged(draft, draftOf(rules, names))).toBe(false);
    expect(isChanged({ ...draft, description: 'other' }, draft)).toBe(true);
  });
});

describe('missing', () => {
  it('says what is still to be said', () => {
    const draft = newDraft();
    expect(missing(draft)).toBeNull();
    const withRule = (change: object) => missing({ ...draft, form: { ...draft.form, rules: [newRule(change)] } });
    expect(withRule({ value: '' })).toMatch(/compares/);
    expect(withRule({ eventType: ' ' })).toMatch(/events/);
    expect(missing({ ...draft, form: { ...draft.form, type: 'DERIVED' } })).toBe('Pick a segment.');
    expect(missing({ ...draft, form: { ...draft.form, windowMinutes: 0 } })).toMatch(/window/);
    expect(missing({ ...draft, side: 'sql', sql: ' \n' })).toMatch(/query/);
  });
});

describe('minutesOf', () => {
  it('reads windows that forms can say', () => {
    expect(['TUMBLE 5 minutes', 'HOP 1 hour by 5 minutes', 'CUMULATE 1 day by 1 hour', 'TUMBLE 60 seconds'].map(minutesOf)).toEqual([5, 60, 1440, 1]);
    expect(['TUMBLE 30 seconds', 'SESSION gap 5 minutes', null].map(minutesOf)).toEqual([null, null, null]);
  });
});

describe('versions', () => {
  const change = (body: object) => ({ revision: 1, segmentId: 'i', name: 'old', action: 'replace', version: 1, body, active: true, by: 'ann', at: 0 });
  it('are lines of text', () => {
    expect(versionText(change({ type: 'INDEPENDENT', windowMinutes: 5, rules: rules.rules }), names).split('\n')).toEqual([
      'Name: old',
      'Window: 5 min',
      'Rule: orders values that sum to more than 500 within 5 minutes',
      'Rule: at least 2 view events within 1 hour',
    ]);
    expect(versionText(change({ sql: 'SELECT 1\nFROM x' }), names)).toBe('Name: old\n\nSELECT 1\nFROM x');
  });
  it('go back into the forms', () => {
    expect(withVersion(newDraft(), change({ sql: 'SELECT 1' }), names)).toMatchObject({ name: 'old', side: 'sql', sql: 'SELECT 1' });
    expect(withVersion(newDraft(), change({ type: 'INDEPENDENT', windowMinutes: 7, rules: rules.rules }), names)).toMatchObject({ side: 'form', form: { windowMinutes: 7 } });
  });
});
