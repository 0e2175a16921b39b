// Results as they are told by a stream, and by lists of the newest ones: where the two overlap, each counts once.

export interface Told {
  userId: string;
  segmentId: string;
  event: string;
  timestamp: number;
  windowStart: number;
  windowEnd: number;
  value?: number | null;
}

const identity = (r: Told) => [r.segmentId, r.userId, r.event, r.timestamp, r.windowStart, r.windowEnd, r.value ?? ''].join('\n');

/** What `told` has that `known` has not. What is alike counts as often as it is there. */
export function beyond<R extends Told>(known: readonly R[], told: readonly R[]): R[] {
  const left = new Map<string, number>();
  for (const result of known) left.set(identity(result), (left.get(identity(result)) ?? 0) + 1);
  return told.filter((result) => {
    const times = left.get(identity(result)) ?? 0;
    left.set(identity(result), times - 1);
    return times <= 0;
  });
}

/**
 * Joins a stream that breaks off now and then with lists of the newest results. Each time that the stream opens, what it
 * tells waits for a list, so that all are in the order that they happened in.
 */
export class Changes<R extends Told> {
  private known: readonly R[] = [];
  private waiting: R[] | null = null;

  /** `most` results are listed at a time. */
  constructor(private readonly most: number) {}

  opened() {
    this.waiting = [];
  }

  /** What is new by a result of the stream. */
  told(result: R): R[] {
    if (!this.waiting) return this.add([result]);
    this.waiting.push(result);
    return [];
  }

  /** What is new by a list, newest first, that was asked for after the stream had opened; empty when there was no answer. */
  listed(newest: readonly R[]): R[] {
    const list = [...newest].reverse();
    const later = beyond(list, this.waiting ?? []);
    this.waiting = null;
    return this.add([...beyond(this.known, list), ...later]);
  }

  private add(results: R[]): R[] {
    this.known = [...this.known, ...results].slice(-this.most);
    return results;
  }
}
