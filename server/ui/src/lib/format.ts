// Numbers, sizes and times for people, in the browser's locale; clocks have 24 hours everywhere.

const locale = typeof navigator === 'undefined' ? 'en' : navigator.language;
// Each is made when it is first used: together they take a while.
const whole = once(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 0 }));
const decimal = once(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 2 }));
const cents = once(() => new Intl.NumberFormat(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
const one = once(() => new Intl.NumberFormat(locale, { maximumFractionDigits: 1 }));
const short = once(() => new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 }));
const clock = once(() => new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }));
const minute = once(() => new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }));
const day = once(() => new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' }));
const dayMinute = once(() => new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }));
const date = once(() => new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' }));
const relative = once(() => new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'narrow' }));

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

/** What stands for a value that is not known. */
export const NONE = '–';

type Maybe = number | null | undefined;
const known = (n: Maybe): n is number => n !== null && n !== undefined && Number.isFinite(n);
/** Within what a `Date` can hold. */
const isDate = (ms: Maybe): ms is number => known(ms) && Math.abs(ms) < 8.64e15;
const DAY = 86_400_000;

/** `12,345.67` */
export const formatNumber = (n: Maybe): string => (known(n) ? decimal().format(n) : NONE);
/** `12,345` or `12.50`: values in a column, whose points are below each other. */
export const formatValue = (n: Maybe): string => (known(n) ? (Number.isInteger(n) ? whole : cents)().format(n) : NONE);
/** `12,345` */
export const formatCount = (n: Maybe): string => (known(n) ? whole().format(n) : NONE);
/** `12,345` up to five digits, `1.2M` from there on. */
export const formatCompact = (n: Maybe): string => (known(n) ? (Math.abs(n) < 100_000 ? (Math.abs(n) < 10 ? one : whole)().format(n) : short().format(n)) : NONE);
/** `1,999/s` */
export const formatRate = (n: Maybe): string => (known(n) ? `${formatCompact(n)}/s` : NONE);

/** `1.5 MiB` */
export function formatBytes(n: Maybe): string {
  if (!known(n)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = n < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(n) / 10));
  return `${one().format(n / 2 ** (10 * power))} ${units[power]}`;
}

/** `850 ms`, `2.4 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h` */
export function formatDuration(ms: Maybe): string {
  if (!known(ms)) return NONE;
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms < 10) return `${one().format(ms)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${one().format(ms / 1_000)} s`;
  const seconds = Math.round(ms / 1_000);
  const steps: [number, string, number, string][] = [
    [86_400, 'd', 3_600, 'h'],
    [3_600, 'h', 60, 'min'],
    [60, 'min', 1, 's'],
  ];
  for (const [large, largeName, small, smallName] of steps) {
    if (seconds >= large) {
      const rest = Math.floor((seconds % large) / small);
      return `${Math.floor(seconds / large)} ${largeName}${rest > 0 ? ` ${rest} ${smallName}` : ''}`;
    }
  }
  return `${seconds} s`;
}

/** `14:03:22`, in the user's time zone. */
export const formatClock = (ms: Maybe): string => (known(ms) ? clock().format(ms) : NONE);
/** `14:03` */
export const formatMinute = (ms: Maybe): string => (known(ms) ? minute().format(ms) : NONE);
/** Times on an axis, all of them alike: to the second only where steps are shorter than a minute. */
export function formatTicks(times: readonly number[]): string[] {
  const format = times.every((t) => t % 60_000 === 0) ? formatMinute : formatClock;
  return times.map(format);
}
/** `25 Nov` */
export const formatDay = (ms: Maybe): string => (known(ms) ? date().format(ms) : NONE);
/** `25 Nov 2026, 14:03:22` */
export const formatTime = (ms: Maybe): string => (isDate(ms) ? day().format(ms) : NONE);
/** `25 Nov, 14:03` */
export const formatDayMinute = (ms: Maybe): string => (isDate(ms) ? dayMinute().format(ms) : NONE);
/** `14:03:22` of times within a day from now, `25 Nov, 14:03` of others. */
export const formatShortTime = (ms: Maybe, now: number): string => (known(ms) && Math.abs(now - ms) < DAY ? formatClock(ms) : formatDayMinute(ms));
/** `2026-11-25 14:03:22.120 UTC`, to hover over. */
export const formatUtc = (ms: Maybe): string =>
  isDate(ms) ? new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC') : NONE;

/** `12s ago`, `in 3m` */
export function formatRelative(ms: Maybe, now: number): string {
  if (!known(ms)) return NONE;
  const seconds = Math.round((ms - now) / 1_000);
  const size = Math.abs(seconds);
  if (size < 2) return 'now';
  if (size < 60) return relative().format(seconds, 'second');
  if (size < 3_600) return relative().format(Math.trunc(seconds / 60), 'minute');
  if (size < 86_400) return relative().format(Math.trunc(seconds / 3_600), 'hour');
  return relative().format(Math.trunc(seconds / 86_400), 'day');
}

/** `1 segment`, `2 segments` */
export const plural = (n: number, word: string, words = `${word}s`): string => `${formatCount(n)} ${n === 1 ? word : words}`;
