import { describe, expect, it } from 'vitest';
import { curl, dump, linesOf, suggest } from './record';

const NOW = 1_800_000_000_000;
const repaired = (reason: string, record: unknown) => {
  const { text, done } = suggest({ reason, raw: JSON.stringify(record), at: NOW }, NOW);
  return { record: JSON.parse(text) as unknown, done };
};

describe('linesOf', () => {
  it('marks the field that is wrong, and only on the first level', () => {
    const lines = linesOf('{"userId":"u","value":"x","metadata":{"value":1}}', 'value');
    expect(lines.filter((l) => l.wrong).map((l) => l.text)).toEqual(['  "value": "x",']);
  });
  it('marks all lines of a value', () => {
    const wrong = linesOf('{"metadata":[{"a":1}],"userId":"u"}', 'metadata').filter((l) => l.wrong);
    expect(wrong.map((l) => l.text.trim())).toEqual(['"metadata": [', '{', '"a": 1', '}', '],']);
  });
  it('marks where a text stops to be JSON', () => {
    expect(linesOf('{\n"a": 1,\n"b" 2\n}').map((l) => l.wrong)).toEqual([false, false, true, false]);
    expect(linesOf('{"a": 1').map((l) => l.wrong)).toEqual([true]);
  });
  it('marks what is no object', () => {
    expect(linesOf('[1,2]')).toEqual([{ text: '[1,2]', wrong: true }]);
  });
});

describe('suggest', () => {
  it.each([
    ['invalid_user_id', { userId: 7 }, { userId: '7' }],
    ['missing_user_id', { user_id: 'ann' }, { userId: 'ann' }],
    ['missing_event_type', { event_type: 'view' }, { eventType: 'view' }],
    ['missing_timestamp', {}, { timestamp: NOW }],
    ['invalid_timestamp', { timestamp: '2027-01-15T08:00:00Z' }, { timestamp: NOW }],
    ['invalid_timestamp', { timestamp: NOW / 1000 + 0.5 }, { timestamp: NOW + 500 }],
    ['invalid_timestamp', { timestamp: String(NOW) }, { timestamp: NOW }],
    ['invalid_timestamp', { timestamp: 'soon' }, { timestamp: NOW }],
    ['future_timestamp', { timestamp: NOW * 1000 }, { timestamp: NOW }],
    ['invalid_value', { value: '12,50 €' }, { value: 12.5 }],
    ['invalid_value', { value: 'much' }, {}],
    ['invalid_metadata', { metadata: 'x' }, {}],
    ['invalid_session_id', { sessionId: 3 }, { sessionId: '3' }],
  ])('repairs %s of %o', (reason, before, after) => {
    const result = repaired(reason, before);
    expect(result.record).toEqual(after);
    expect(result.done).not.toEqual([]);
  });
  it('leaves what it cannot know', () => {
    expect(repaired('missing_user_id', { eventType: 'view' })).toEqual({ record: { eventType: 'view' }, done: [] });
    expect(repaired('late', { timestamp: 1 })).toEqual({ record: { timestamp: 1 }, done: [] });
    expect(suggest({ reason: 'not_json', raw: '{"a', at: 0 }, NOW)).toEqual({ text: '{"a', done: [] });
    expect(suggest({ reason: 'not_utf8', rawHex: '7bff7d', at: 0 }, NOW).text).toBe('{ÿ}');
  });
});

it('dumps bytes', () => {
  expect(dump('7b22ff00')).toBe(`000000  7b 22 ff 00${' '.repeat(36)}  {"..`);
  expect(dump('41'.repeat(17)).split('\n')[1]).toMatch(/^000010 {2}41 +A$/);
});

it('quotes for a shell', () => {
  expect(curl(`{"a":"it's"}`, 'http://h/x')).toBe(`curl -X POST 'http://h/x' -H 'Content-Type: application/json' -d '{"a":"it'\\''s"}'`);
});
