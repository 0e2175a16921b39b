import { describe, expect, it } from 'vitest';
import { diffLines } from './diff';
import { fillMinutes } from './sizes';
import { nameIn, renameIn } from './sqlName';

describe('nameIn', () => {
  it('finds plain and quoted names', () => {
    expect(nameIn('CREATE SEGMENT big AS SELECT 1')).toBe('big');
    expect(nameIn('  create or replace segment if not exists "a ""b""" AS SELECT 1')).toBe('a "b"');
    expect(nameIn("SELECT 'CREATE SEGMENT x'")).toBeNull();
    expect(nameIn('CREATE SEGMENT ')).toBeNull();
  });
});

describe('renameIn', () => {
  it('changes the name only, and quotes where it must', () => {
    expect(renameIn('CREATE SEGMENT big WITH (retain = \'1 hour\') AS SELECT big', 'small')).toBe("CREATE SEGMENT small WITH (retain = '1 hour') AS SELECT big");
    expect(renameIn('CREATE SEGMENT "a b" AS SELECT 1', 'A $& "c"')).toBe('CREATE SEGMENT "A $& ""c""" AS SELECT 1');
    expect(renameIn('SELECT 1', 'x')).toBe('SELECT 1');
  });
});

describe('diffLines', () => {
  it('keeps what is common, in order', () => {
    expect(diffLines('a\nb\nc', 'a\nx\nc\nd').map((l) => `${l.kind[0] ?? ''}${l.text}`)).toEqual(['sa', 'rb', 'ax', 'sc', 'ad']);
  });
  it('has nothing but the same for equal texts', () => {
    expect(diffLines('a\nb', 'a\nb').every((l) => l.kind === 'same')).toBe(true);
  });
});

describe('fillMinutes', () => {
  it('holds a size until it changes', () => {
    const sizes = fillMinutes([
      { time: 60_000, size: 2 },
      { time: 240_000, size: 5 },
    ]);
    expect(sizes.map((p) => [p.time / 60_000, p.size])).toEqual([[0, 0], [1, 2], [2, 2], [3, 2], [4, 5]]);
  });
  it('is empty for nothing', () => {
    expect(fillMinutes([])).toEqual([]);
  });
});
