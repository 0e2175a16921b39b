import { describe, expect, it } from 'vitest';
import { csvLines, fileName } from './members';

describe('csvLines', () => {
  const member = { userId: 'u1', value: 2.5, since: 0, windowStart: 0, windowEnd: 60_000, expiresAt: Number.MAX_SAFE_INTEGER };
  it('has a line for each member', () => {
    expect(csvLines([member])).toBe('u1,2.5,1970-01-01T00:00:00.000Z,1970-01-01T00:00:00.000Z,1970-01-01T00:01:00.000Z,\r\n');
  });
  it('quotes what needs to be', () => {
    expect(csvLines([{ ...member, userId: 'a "b", c', value: null }])).toMatch(/^"a ""b"", c",,/);
  });
});

describe('fileName', () => {
  it('is plain', () => {
    expect(fileName('Big & busy/5m', 0)).toBe('Big_busy_5m-members-1970-01-01.csv');
  });
});
