// How the service stood in the last minutes, for live charts: what it tells of before, and what is sampled whenever the
// status is read.
import { useSyncExternalStore } from 'react';
import { rateSeries, type Counter } from '../lib/series';
import type { HistoryPoint, ServiceStatus } from './types';

/** A look at the status. Counters are sums over partitions, since the start. */
export interface Sample {
  /** By the service's clock, ms since the epoch. */
  at: number;
  startedAt: number;
  events: number;
  results: number;
  /** With those that came over HTTP. */
  deadLetters: number;
  lag: number;
  /** How far the slowest partition that is not idle is behind, ms. */
  watermarkDelay: number | null;
  members: number;
}

const KEPT = 450; // a quarter of an hour at one every two seconds
const SPAN = 900_000;
/** Live samples lie closer together than the service's own. */
const CLOSE = 2_500;

export function sampleOf(status: ServiceStatus): Sample {
  const sum = (of: (p: ServiceStatus['partitions'][number]) => number) => status.partitions.reduce((total, p) => total + of(p), 0);
  const watermarks = status.partitions.filter((p) => !p.idle && p.watermark != null).map((p) => p.watermark as number);
  return {
    at: status.now,
    startedAt: status.startedAt,
    events: sum((p) => p.events),
    results: sum((p) => p.results),
    deadLetters: Object.values(status.deadLetters).reduce((total, n) => total + n, 0),
    lag: sum((p) => p.lag),
    watermarkDelay: watermarks.length > 0 ? Math.max(0, status.now - Math.min(...watermarks)) : null,
    members: sum((p) => p.members),
  };
}

/** Live samples, with what the service tells of the times that they lack. */
export function withHistory(live: readonly Sample[], points: readonly HistoryPoint[]): readonly Sample[] {
  const last = live.at(-1);
  if (!last) return [];
  const lacking = points.filter((p) => p.at >= last.at - SPAN && p.at < last.at && !live.some((s) => Math.abs(s.at - p.at) < CLOSE));
  const told = lacking.map(({ watermarkDelayMs, ...p }) => ({ ...p, watermarkDelay: watermarkDelayMs ?? null, startedAt: startOf(p.at, live) }));
  return told.length === 0 ? live : [...told, ...live].sort((a, b) => a.at - b.at);
}

/** When the service started that told a point: the newest start before it. */
const startOf = (at: number, live: readonly Sample[]) => live.findLast((s) => s.startedAt <= at)?.startedAt ?? 0;

let samples: readonly Sample[] = [];
const listeners = new Set<() => void>();

export function record(status: ServiceStatus) {
  const sample = sampleOf(status);
  const last = samples.at(-1);
  if (last && sample.at <= last.at) return;
  samples = [...samples.slice(1 - KEPT), sample];
  listeners.forEach((listener) => {
    listener();
  });
}

/** Samples since the page was opened, oldest first. */
export const useSamples = (): readonly Sample[] =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => samples,
  );

/** What a counter of samples gained a second. */
export const rates = (history: readonly Sample[], counter: Counter<Sample>) => rateSeries(history, counter);
