import { describe, expect, it } from 'vitest';
import { ABOUT, faults, isMade, KINDS, makeEvents } from './events';

const wanted = { kind: 'order_events' as const, count: 1_000, prefix: 'u_', until: 1_800_000_000_000, span: 300_000, seed: 7 };

describe('makeEvents', () => {
  it.each([
    ['order_events', 10, 510, ['category', 'paymentMethod']],
    ['activity_events', 5, 305, ['page', 'referrer', 'device']],
    ['install_events', 0, 0, ['version', 'platform', 'source']],
  ] as const)('makes %s of %i to %i', (kind, least, most, keys) => {
    const events = makeEvents({ ...wanted, kind });
    const values = events.map((e) => e.value ?? NaN);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(least);
    expect(Math.max(...values)).toBeLessThanOrEqual(most);
    if (most > 0) expect(Math.max(...values) - Math.min(...values)).toBeGreaterThan((most - least) * 0.9);
    expect(events.every((e) => e.eventType === ABOUT[kind].eventType)).toBe(true);
    for (const [key, all] of ABOUT[kind].metadata) expect(new Set(events.map((e) => e.metadata?.[key]))).toEqual(new Set(all));
    expect(Object.keys(events[0]?.metadata ?? {})).toEqual(keys);
  });

  it('lets 100 users take turns', () => {
    const users = makeEvents({ ...wanted, count: 250 }).map((e) => e.userId);
    expect(new Set(users).size).toBe(100);
    expect([users[0], users[99], users[100]]).toEqual(['u_1', 'u_100', 'u_1']);
    expect(makeEvents({ ...wanted, count: 2, firstUser: 250 }).map((e) => e.userId)).toEqual(['u_51', 'u_52']);
  });

  it('spreads times over the span, in order', () => {
    const times = makeEvents(wanted).map((e) => e.timestamp);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times[0]).toBeGreaterThanOrEqual(wanted.until - wanted.span);
    expect(times[0]).toBeLessThan(wanted.until - wanted.span + 300);
    expect(times.at(-1)).toBeLessThanOrEqual(wanted.until);
    expect(times.at(-1)).toBeGreaterThan(wanted.until - 300);
  });

  it('makes the same of the same seed', () => {
    expect(makeEvents(wanted)).toEqual(makeEvents(wanted));
    expect(makeEvents(wanted)).not.toEqual(makeEvents({ ...wanted, seed: 8 }));
  });
});

it('knows its users', () => {
  expect(isMade('u_7', 'u_')).toBe(true);
  expect(isMade('u_b000045', 'u_')).toBe(false);
  expect(isMade('v_7', 'u_')).toBe(false);
});

it('says what cannot be made', () => {
  expect(faults({ count: 1, prefix: 'u' })).toEqual({});
  expect(faults({ count: 1_000, prefix: 'u'.repeat(64) })).toEqual({});
  for (const count of [0, 1_001, 1.5, '', NaN]) expect(faults({ count, prefix: 'u' })).toHaveProperty('count');
  for (const prefix of ['', 'ü'.repeat(33)]) expect(faults({ count: 1, prefix })).toHaveProperty('prefix');
  expect(KINDS).toHaveLength(3);
});
