// When a user was in which segment, from entering and leaving.

/** One entering or leaving. */
export interface Move {
  segment: string;
  event: 'entered' | 'exited';
  /** Event time, ms. */
  at: number;
  value: number | null;
}

export interface Interval {
  segment: string;
  /** `null` when it began before what is kept. */
  from: number | null;
  /** `null` while it lasts. */
  until: number | null;
}

/** Moves without those that change nothing: each window in which a member qualifies says "entered" again. Newest first. */
export function changesOf(moves: readonly Move[]): Move[] {
  const last = new Map<string, string>();
  const oldestFirst = [...moves].sort((a, b) => a.at - b.at);
  return oldestFirst
    .filter((move) => {
      const changed = last.get(move.segment) !== move.event;
      last.set(move.segment, move.event);
      return changed;
    })
    .reverse();
}

/** Times of membership by segment; those that last come first, then the newest. `current` are memberships that hold now. */
export function intervalsOf(moves: readonly Move[], current: readonly { segment: string; since: number }[]): Map<string, Interval[]> {
  const found = new Map<string, Interval[]>();
  const of = (segment: string) => {
    const list = found.get(segment) ?? [];
    found.set(segment, list);
    return list;
  };
  for (const { segment, event, at } of changesOf(moves).reverse()) {
    const list = of(segment);
    const last = list.at(-1);
    if (event === 'entered') list.push({ segment, from: at, until: null });
    else if (last?.until === null) last.until = at;
    else list.push({ segment, from: null, until: at });
  }
  const lasting = new Map(current.map((c) => [c.segment, c.since]));
  for (const [segment, since] of lasting) {
    const list = of(segment);
    if (list.at(-1)?.until !== null) list.push({ segment, from: since, until: null });
  }
  // Whom the service no longer counts as a member has left, whatever was not kept.
  for (const [segment, list] of found) {
    const last = list.at(-1);
    if (last?.until === null && !lasting.has(segment)) last.until = last.from;
  }
  const order = ([segment, list]: [string, Interval[]]) => (lasting.has(segment) ? Infinity : (list.at(-1)?.until ?? 0));
  return new Map([...found].sort((a, b) => (order(a) === order(b) ? a[0].localeCompare(b[0]) : order(b) - order(a))));
}

const STEPS = [60_000, 300_000, 900_000, 1_800_000, 3_600_000, 3 * 3_600_000, 6 * 3_600_000, 12 * 3_600_000, 86_400_000, 7 * 86_400_000, 30 * 86_400_000];

/** A span that ends now and holds all that there is, rounded up. */
export function spanOf(intervals: Iterable<readonly Interval[]>, now: number): number {
  const times = [...intervals].flatMap((list) => list.flatMap((i) => [i.from, i.until])).filter((t): t is number => t !== null);
  const needed = Math.max(0, now - Math.min(now, ...times)) * 1.05;
  return STEPS.find((step) => step >= needed) ?? needed;
}

const TICKS = [10_000, 30_000, ...STEPS];

/** Whole minutes, hours or days within a span that ends now, at most five of them and none at its very end. */
export function ticksOf(now: number, span: number): number[] {
  const step = TICKS.find((t) => span / t <= 5) ?? span / 4;
  const first = Math.ceil((now - span) / step) * step;
  return Array.from({ length: 5 }, (_, i) => first + i * step).filter((tick) => tick < now - span * 0.08);
}
