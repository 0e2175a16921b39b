import { describe, expect, it } from 'vitest';
import { plain } from './expression';

describe('plain', () => {
  it('reads as SQL does', () => {
    expect(plain('count(1) FILTER (WHERE event_type = Utf8("view")) >= 5')).toBe("count(*) FILTER (WHERE event_type = 'view') >= 5");
    expect(plain('coalesce(sum(value), Float64(0)) > 5')).toBe('coalesce(sum(value), 0) > 5');
    expect(plain('high_spenders AND frequent_viewers IS NOT TRUE')).toBe('high_spenders AND NOT frequent_viewers');
  });
});
