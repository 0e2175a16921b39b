import { expect, it } from 'vitest';
import { Changes } from './changes';

it('lets the first of each run of the same event of a user and segment pass', () => {
  const changes = new Changes();
  const take = (userId: string, segmentId: string, event: string) => changes.take({ userId, segmentId, event });
  expect(take('a', 's', 'entered')).toBe(true);
  expect(take('a', 's', 'entered')).toBe(false);
  expect(take('a', 't', 'entered')).toBe(true);
  expect(take('b', 's', 'entered')).toBe(true);
  expect(take('a', 's', 'exited')).toBe(true);
  expect(take('a', 's', 'entered')).toBe(true);
  expect(take('a', 's', 'result')).toBe(true);
  expect(take('a', 's', 'result')).toBe(true);
});
