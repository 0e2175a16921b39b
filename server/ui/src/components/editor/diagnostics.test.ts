import { describe, expect, it } from 'vitest';
import { diagnosticsOf, offsetOf } from './diagnostics';

const text = "SELECT user_id\nFROM evnts\nWHERE name = '💡' AND foo > 1";

describe('offsetOf', () => {
  it('counts lines and columns from 1, columns in characters', () => {
    expect(offsetOf(text, 1, 1)).toBe(0);
    expect(text.slice(offsetOf(text, 2, 6))).toMatch(/^evnts/);
    expect(text.slice(offsetOf(text, 3, 22))).toMatch(/^foo/);
  });
  it('stays inside', () => {
    expect(offsetOf(text, 99, 99)).toBe(text.length);
    expect(offsetOf('', 1, 5)).toBe(0);
  });
});

describe('diagnosticsOf', () => {
  it('underlines the word at the place', () => {
    const [found] = diagnosticsOf(text, [{ message: 'no table evnts', line: 2, column: 6, hint: 'events?' }]);
    expect(text.slice(found?.from, found?.to)).toBe('evnts');
    expect(found?.message).toBe('no table evnts\nevents?');
  });
  it('underlines the last character at the end, and everything without a place', () => {
    expect(diagnosticsOf('SELECT', [{ message: 'ends', line: 1, column: 7 }])[0]).toMatchObject({ from: 5, to: 6 });
    expect(diagnosticsOf('SELECT', [{ message: 'no' }])[0]).toMatchObject({ from: 0, to: 6 });
  });
});
