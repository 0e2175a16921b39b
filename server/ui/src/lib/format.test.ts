import { describe, expect, it } from 'vitest';
import {
  formatBytes,
  formatClock,
  formatCompact,
  formatDayMinute,
  formatDuration,
  formatMinute,
  formatNumber,
  formatRate,
  formatRelative,
  formatShortTime,
  formatTicks,
  formatTime,
  formatUtc,
  formatValue,
  plural,
} from './format';

describe('numbers', () => {
  it('shows what is not known as a dash', () => {
    for (const format of [formatNumber, formatCompact, formatRate, formatBytes, formatDuration, formatTime, formatUtc]) {
      expect(format(null)).toBe('–');
      expect(format(NaN)).toBe('–');
    }
  });
  it('keeps five digits and shortens from there on', () => {
    expect(formatCompact(1.25)).toBe('1.3');
    expect(formatCompact(99_999)).toBe('99,999');
    expect(formatCompact(1_250_000)).toBe('1.3M');
    expect(formatRate(1_999.4)).toBe('1,999/s');
  });
  it('has two digits or none in columns', () => {
    expect(formatValue(1_253)).toBe('1,253');
    expect(formatValue(336.2)).toBe('336.20');
    expect(formatValue(null)).toBe('–');
  });
  it('says bytes in powers of two', () => {
    expect(formatBytes(0)).toBe('0 B');
    expect(formatBytes(1023)).toBe('1,023 B');
    expect(formatBytes(1536)).toBe('1.5 KiB');
    expect(formatBytes(5 * 2 ** 40)).toBe('5 TiB');
  });
  it('counts things', () => {
    expect(plural(1, 'segment')).toBe('1 segment');
    expect(plural(2_000, 'query', 'queries')).toBe('2,000 queries');
  });
});

describe('times', () => {
  it('uses two units at most', () => {
    expect(formatDuration(850)).toBe('850 ms');
    expect(formatDuration(2_440)).toBe('2.4 s');
    expect(formatDuration(59_990)).toBe('1 min');
    expect(formatDuration(250_000)).toBe('4 min 10 s');
    expect(formatDuration(7_500_000)).toBe('2 h 5 min');
    expect(formatDuration(90_000_000)).toBe('1 d 1 h');
    expect(formatDuration(-1_500)).toBe('-1.5 s');
  });
  it('says how long ago', () => {
    expect(formatRelative(1_000, 1_500)).toBe('now');
    expect(formatRelative(0, 12_000)).toBe('12s ago');
    expect(formatRelative(600_000, 0)).toBe('in 10m');
  });
  it('has clocks of 24 hours', () => {
    const [midnight, evening] = [new Date(2026, 10, 25).getTime(), new Date(2026, 10, 25, 21, 5, 7).getTime()];
    expect(formatClock(midnight)).toBe('00:00:00');
    expect(formatClock(evening)).toBe('21:05:07');
    expect(formatMinute(evening)).toBe('21:05');
    expect(formatTime(evening)).toMatch(/2026.*21:05:07$/);
    expect(formatDayMinute(evening)).toMatch(/25.*21:05$/);
  });
  it('has seconds on an axis where they are needed', () => {
    const at = new Date(2026, 10, 25, 21, 5).getTime();
    expect(formatTicks([at, at + 60_000])).toEqual(['21:05', '21:06']);
    expect(formatTicks([at, at + 30_000])).toEqual(['21:05:00', '21:05:30']);
  });
  it('names the day of times that are not of now', () => {
    const at = new Date(2026, 10, 25, 21, 5, 7).getTime();
    expect(formatShortTime(at, at + 3_600_000)).toBe('21:05:07');
    expect(formatShortTime(at, at + 86_400_000)).toMatch(/25.*21:05$/);
    expect(formatShortTime(9e18, at)).toBe('–');
  });
  it('has UTC to the millisecond', () => {
    expect(formatUtc(1_767_225_600_120)).toBe('2026-01-01 00:00:00.120 UTC');
    expect(formatUtc(9e18)).toBe('–');
  });
});
