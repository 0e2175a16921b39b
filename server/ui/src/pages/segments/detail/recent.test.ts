import { describe, expect, it } from 'vitest';
import { changed } from './recent';

const move = (userId: string, event: string, at: number) => ({ userId, event, at, value: null });

describe('changed', () => {
  it('has each change once, newest first', () => {
    const found = changed([move('a', 'entered', 3), move('a', 'entered', 1), move('b', 'entered', 2), move('a', 'exited', 5), move('a', 'exited', 5)]);
    expect(found.map((m) => m.key)).toEqual(['a exited 5', 'b entered 2', 'a entered 1']);
  });
});
