import { describe, expect, it } from 'vitest';
import { expressionOf, minutesInWords, plainReason, rulesInWords } from './words';

const sum = { eventType: 'purchase', attribute: 'sum', operator: 'GT', value: 500 };
const count = { eventType: 'view', attribute: 'count', operator: 'GTE', value: 1 };

describe('rulesInWords', () => {
  it('says the window once when all rules have it', () => {
    expect(rulesInWords([sum, count], 5)).toBe('Users with purchase values that sum to more than 500, and at least 1 view event within 5 minutes.');
  });
  it('says each window when they differ', () => {
    expect(rulesInWords([sum, { ...count, windowMinutes: 120 }], 5)).toBe(
      'Users with purchase values that sum to more than 500 within 5 minutes, and at least 1 view event within 2 hours.',
    );
  });
});

describe('expressionOf', () => {
  const of = (...parts: [string, string][]) => expressionOf(parts.map(([operator, segment]) => ({ operator, segment })));
  it('ignores the first operator and quotes names that need it', () => {
    expect(of(['NOT', 'High Spenders'], ['NOT', 'viewers'])).toBe('"High Spenders" AND NOT viewers');
  });
  it('folds from left to right, with parentheses where operators change', () => {
    expect(of(['AND', 'a'], ['OR', 'b'], ['AND', 'c'], ['AND', 'd'])).toBe('(a OR b) AND c AND d');
    expect(of(['AND', 'a'], ['AND', 'b'], ['OR', 'not'])).toBe('(a AND b) OR "not"');
  });
  it('is empty for nothing', () => {
    expect(of()).toBe('');
  });
});

it('says minutes in the largest unit', () => {
  expect([1, 5, 60, 90, 1440].map(minutesInWords)).toEqual(['1 minute', '5 minutes', '1 hour', '90 minutes', '1 day']);
});

it('shows literals of reasons as they are written', () => {
  expect(plainReason('whether count(1) FILTER (WHERE event_type = Utf8("purchase")) = Int64(0) is open')).toBe("whether count(*) FILTER (WHERE event_type = 'purchase') = 0 is open");
});

it('says of combinations what is only known at the close', () => {
  const plain = 'who is not in a segment is only known when the window closes';
  expect(plainReason('whether NOT p1 AND p1 IS TRUE is only known when the window closes')).toBe(plain);
  expect(plainReason('whether p1 IS NOT TRUE is only known when the window closes')).toBe(plain);
});
