import { expect, it } from 'vitest';
import { sortRows } from './sort';

it('sorts as people do, with what is not known last', () => {
  const same = (x: string | number | null) => x;
  expect(sortRows(['user_10', 'user_9', 'user_9'], same, false)).toEqual(['user_9', 'user_9', 'user_10']);
  expect(sortRows([null, 2, 10], same, false)).toEqual([2, 10, null]);
  expect(sortRows([null, 2, 10], same, true)).toEqual([10, 2, null]);
});
