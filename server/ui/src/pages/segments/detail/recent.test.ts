import { describe, expect, it } from 'vitest';
import type { SegmentResult } from '../../../api';
import { changed } from './recent';

const result = (userId: string, event: SegmentResult['event'], timestamp: number): SegmentResult => ({
  userId,
  event,
  timestamp,
  segmentId: 's',
  ruleId: 's',
  qualified: event === 'entered',
  value: null,
  windowStart: 0,
  windowEnd: 10,
});

describe('changed', () => {
  it('has each change once, newest first', () => {
    const found = changed([result('a', 'entered', 3), result('a', 'entered', 1), result('b', 'entered', 2), result('a', 'exited', 5), result('a', 'exited', 5)]);
    expect(found.map((m) => m.key)).toEqual(['a exited 5', 'b entered 2', 'a entered 1']);
  });
});
