import { Tooltip } from '@mantine/core';
import { useSyncExternalStore } from 'react';
import { formatRelative, formatShortTime, formatTime, formatUtc, NONE } from '../lib/format';

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
      <time dateTime={iso(at)} className="num time">
        {formatRelative(at, current)}
      </time>
    </Tooltip>
  );
}

/** A time in the user's zone, with UTC to hover over. */
export function Moment({ at }: { at: At }) {
  if (at === null || at === undefined) return NONE;
  return (
    <Tooltip label={hover(at)}>
      <time dateTime={iso(at)} className="num time">
        {formatTime(at)}
      </time>
    </Tooltip>
  );
}

/** Its clock, or its day once that is another one, with the whole time to hover over. */
export function ShortMoment({ at }: { at: At }) {
  const current = useNow();
  if (at === null || at === undefined) return NONE;
  return (
    <Tooltip label={hover(at)}>
      <time dateTime={iso(at)} className="num time">
        {formatShortTime(at, current)}
      </time>
    </Tooltip>
  );
}
