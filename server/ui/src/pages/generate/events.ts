// Realistic events, made here so that one sees what will be sent before it is sent.
import type { UserEvent } from '../../api';

export const KINDS = ['order_events', 'activity_events', 'install_events'] as const;
/** A topic, and with it what its events are like. */
export type Kind = (typeof KINDS)[number];

/** How many users take turns. */
export const USERS = 100;
export const MOST = 1_000;
export const PREFIX_MOST = 64;

const CATEGORIES = ['electronics', 'clothing', 'home', 'beauty', 'grocery', 'sports', 'toys', 'books'];
const PAYMENTS = ['card', 'paypal', 'apple_pay', 'invoice', 'gift_card'];
const PAGES = ['product', 'category', 'search', 'home'];
const REFERRERS = ['google', 'direct', 'email', 'instagram', 'partner'];
const DEVICES = ['mobile', 'desktop', 'tablet'];
const VERSIONS = ['5.2.0', '5.1.3', '5.1.0', '5.0.2', '4.9.8'];
const PLATFORMS = ['android', 'ios', 'web'];
const SOURCES = ['organic', 'ads', 'referral', 'social', 'preload'];

/** What there is to say of a topic before anything is made. */
export const ABOUT: Record<Kind, { name: string; eventType: string; value: string; metadata: [string, readonly string[]][] }> = {
  order_events: {
    name: 'Purchases',
    eventType: 'purchase',
    value: '10 to 510',
    metadata: [
      ['category', CATEGORIES],
      ['paymentMethod', PAYMENTS],
    ],
  },
  activity_events: {
    name: 'Views',
    eventType: 'view',
    value: '5 to 305 seconds',
    metadata: [
      ['page', PAGES],
      ['referrer', REFERRERS],
      ['device', DEVICES],
    ],
  },
  install_events: {
    name: 'Installs',
    eventType: 'install',
    value: '0',
    metadata: [
      ['version', VERSIONS],
      ['platform', PLATFORMS],
      ['source', SOURCES],
    ],
  },
};

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export interface Wanted {
  kind: Kind;
  count: number;
  prefix: string;
  /** The newest event is of then, ms since the epoch. */
  until: number;
  /** How long before the first one is, ms. */
  span: number;
  seed: number;
  /** The number of the first user, from 0. */
  firstUser?: number;
}

/** Events in the order of their times; users take turns. */
export function makeEvents({ kind, count, prefix, until, span, seed, firstUser = 0 }: Wanted): UserEvent[] {
  const next = random(seed);
  // The early ones of a list are the likely ones.
  const pick = (values: readonly string[]) => values[Math.floor(next() ** 1.6 * values.length)] ?? '';
  const between = (least: number, width: number) => Math.round((least + next() * width) * 100) / 100;
  const { eventType, metadata } = ABOUT[kind];
  return Array.from({ length: count }, (_, i) => {
    const user = `${prefix}${((firstUser + i) % USERS) + 1}`;
    const value = kind === 'order_events' ? between(10, 500) : kind === 'activity_events' ? between(5, 300) : 0;
    return {
      userId: user,
      eventType,
      timestamp: Math.round(until - span + ((i + next()) * span) / count),
      value,
      sessionId: `session_${user}_${Math.floor(until / 1_800_000)}`,
      metadata: Object.fromEntries(metadata.map(([key, values]) => [key, pick(values)])),
    };
  });
}

/** Whether a user is one of those that take turns. */
export const isMade = (user: string, prefix: string): boolean => user.startsWith(prefix) && /^\d{1,3}$/.test(user.slice(prefix.length));

/** What is wrong with a count or a prefix that was typed; nothing when all is right. */
export function faults({ count, prefix }: { count: number | string; prefix: string }): { count?: string; prefix?: string } {
  const bytes = new TextEncoder().encode(prefix).length;
  return {
    ...(typeof count === 'number' && Number.isInteger(count) && count >= 1 && count <= MOST ? {} : { count: 'A whole number from 1 to 1,000' }),
    ...(bytes === 0 ? { prefix: 'User ids have to begin with something' } : bytes > PREFIX_MOST ? { prefix: `At most ${PREFIX_MOST} bytes` } : {}),
  };
}
