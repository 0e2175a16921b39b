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
    const found = changed([result('a', 'exited', 5), result('a', 'exited', 6), result('b', 'entered', 2), result('a', 'entered', 3), result('a', 'entered', 1)]);
    expect(found.map((m) => m.key)).toEqual(['a exited 6 0', 'b entered 2 0', 'a entered 1 0']);
  });
  it('does not mind what is both kept and streamed', () => {
    const kept = [result('a', 'exited', 2), result('a', 'entered', 1)];
    expect(changed([result('a', 'entered', 3), ...kept, ...kept]).map((m) => m.key)).toEqual(['a entered 3 0', 'a exited 2 0', 'a entered 1 0']);
  });
});
