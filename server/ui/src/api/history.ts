// What the service said of itself in the last minutes, for live charts. Sampled whenever the status is read.
import { useSyncExternalStore } from 'react';
import { rateSeries, type Counter } from '../lib/series';
import type { Segment, ServiceStatus } from './types';

/** A look at the status. Counters are sums over partitions. */
export interface Sample {
  /** By the service's clock, ms since the epoch. */
  at: number;
  startedAt: number;
  events: number;
  results: number;
  deadLetters: number;
  lag: number;
  /** How far the slowest partition that is not idle is behind, ms. */
  watermarkDelay: number | null;
  members: number;
  stateBytes: number;
  logBytes: number;
  sinkQueue: number;
  checkpointAge: number | null;
}

const KEPT = 450; // a quarter of an hour at one every two seconds

export function sampleOf(status: ServiceStatus): Sample {
  const sum = (of: (p: ServiceStatus['partitions'][number]) => number) => status.partitions.reduce((total, p) => total + of(p), 0);
  const watermarks = status.partitions.filter((p) => !p.idle && p.watermark != null).map((p) => p.watermark as number);
  return {
    at: status.now,
    startedAt: status.startedAt,
    events: sum((p) => p.events),
    results: sum((p) => p.results),
    deadLetters: sum((p) => p.deadLetters),
    lag: sum((p) => p.lag),
    watermarkDelay: watermarks.length > 0 ? Math.max(0, status.now - Math.min(...watermarks)) : null,
    members: sum((p) => p.members),
    stateBytes: sum((p) => p.stateBytes),
    logBytes: status.logBytes,
    sinkQueue: status.sink.queue,
    checkpointAge: status.checkpoint.ageMs ?? null,
  };
}

/** A value that pages follow. */
function store<T>(initial: T) {
  let value = initial;
  const listeners = new Set<() => void>();
  const get = () => value;
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  return {
    get,
    set(next: T) {
      value = next;
      listeners.forEach((listener) => {
        listener();
      });
    },
    use: () => useSyncExternalStore(subscribe, get),
  };
}

const samples = store<readonly Sample[]>([]);
const sizes = store<ReadonlyMap<string, readonly number[]>>(new Map());

export function record(status: ServiceStatus) {
  const sample = sampleOf(status);
  const last = samples.get().at(-1);
  if (last && sample.at <= last.at) return;
  samples.set([...samples.get().slice(1 - KEPT), sample]);
}

export function recordSizes(segments: readonly Segment[]) {
  const before = sizes.get();
  sizes.set(new Map(segments.map((s) => [s.name, [...(before.get(s.name) ?? s.trend ?? []).slice(-89), s.size]])));
}

/** Samples of the last quarter of an hour, oldest first. */
export const useStatusHistory = (): readonly Sample[] => samples.use();

/** Sizes by segment since the page was opened (and before, where the service knows), oldest first. */
export const useSizeHistory = (): ReadonlyMap<string, readonly number[]> => sizes.use();

/** What a counter of samples gained a second. */
export const rates = (history: readonly Sample[], counter: Counter<Sample>) => rateSeries(history, counter);
