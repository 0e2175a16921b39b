import { Tooltip } from '@mantine/core';
import { useSyncExternalStore } from 'react';
import { formatClock, formatRelative, formatTime, formatUtc, NONE } from '../lib/format';

// One clock for all that show how long ago something was.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void) {
  if (listeners.size === 0) now = Date.now();
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    listeners.forEach((tell) => {
      tell();
    });
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time, each second. */
export const useNow = () => useSyncExternalStore(subscribe, () => now);

type At = number | null | undefined;

const hover = (at: number) => (
  <>
    {formatTime(at)}
    <br />
    {formatUtc(at)}
  </>
);

const iso = (at: number) => (Math.abs(at) < 8.64e15 ? new Date(at).toISOString() : undefined);

/** `12s ago`, with the time in both zones to hover over. */
export function RelativeTime({ at }: { at: At }) {
  const current = useNow();
  if (at === null || at === undefined) return NONE;
  return (
    <Tooltip label={hover(at)}>
      <time dateTime={iso(at)} className="num">
        {formatRelative(at, current)}
      </time>
    </Tooltip>
  );
}

/** A time in the user's zone, with UTC to hover over; only its clock with `short`. */
export function Moment({ at, short = false }: { at: At; short?: boolean }) {
  if (at === null || at === undefined) return NONE;
  return (
    <Tooltip label={hover(at)}>
      <time dateTime={iso(at)} className="num">
        {short ? formatClock(at) : formatTime(at)}
      </time>
    </Tooltip>
  );
}
