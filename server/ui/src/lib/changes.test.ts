import { describe, expect, it } from 'vitest';
import { beyond, Changes, type Told } from './changes';

const result = (userId: string, timestamp: number, event = 'entered'): Told => ({ userId, segmentId: 's', event, timestamp, windowStart: 0, windowEnd: 10 });
const [a, b, c, d, e] = [result('a', 1), result('b', 2), result('c', 3), result('d', 4), result('e', 5)] as const;

describe('beyond', () => {
  it('leaves out what is known, each as often as it is', () => {
    expect(beyond([a, b, a], [a, b, a, a, c])).toEqual([a, c]);
    expect(beyond([], [a, a])).toEqual([a, a]);
  });
  it('tells results apart by all that they say', () => {
    expect(beyond([a], [{ ...a, value: 0 }, { ...a, windowEnd: 11 }, { ...a, segmentId: 't' }, { ...a, event: 'exited' }])).toHaveLength(4);
    expect(beyond([{ ...a, value: null }], [a])).toEqual([]);
  });
});

describe('Changes', () => {
  /** One that knows `a` and `b`, and then follows the stream. */
  const following = () => {
    const changes = new Changes(10);
    changes.opened();
    changes.listed([b, a]);
    return changes;
  };

  it('begins with what was before, in the order that it happened in', () => {
    const changes = new Changes(10);
    changes.opened();
    expect(changes.listed([b, a])).toEqual([a, b]);
    expect(changes.told(c)).toEqual([c]);
  });
  it('fills in what came while the stream was broken', () => {
    const changes = following();
    changes.told(c);
    changes.opened();
    expect(changes.listed([e, d, c, b, a])).toEqual([d, e]);
  });
  it('holds what is streamed until it knows what was before, and has nothing twice', () => {
    const changes = following();
    changes.opened();
    expect(changes.told(d)).toEqual([]);
    expect(changes.told(e)).toEqual([]);
    expect(changes.listed([d, c, b, a])).toEqual([c, d, e]);
  });
  it('goes on with the stream when there is no list', () => {
    const changes = following();
    changes.opened();
    changes.told(c);
    expect(changes.listed([])).toEqual([c]);
  });
  it('does not mind a service that has forgotten, and emits again what came after its checkpoint', () => {
    const changes = following();
    changes.opened();
    expect(changes.listed([c, b])).toEqual([c]);
  });
  it('knows as much as a list can hold', () => {
    const changes = new Changes(2);
    for (const r of [a, b, c]) changes.told(r);
    changes.opened();
    expect(changes.listed([d, c])).toEqual([d]);
  });
  it('lets a stream repeat itself: only lists overlap with it', () => {
    const changes = following();
    expect([...changes.told(c), ...changes.told(c)]).toEqual([c, c]);
  });
});
