import { expect, it } from 'vitest';
import { fileName } from './members';

it('names files plainly', () => {
  expect(fileName('Big & busy/5m', 0)).toBe('Big_busy_5m-members-1970-01-01.csv');
});
