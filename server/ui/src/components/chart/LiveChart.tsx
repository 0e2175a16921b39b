import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useEffectEvent, useRef } from 'react';
import uPlot from 'uplot';
import { formatClock, formatCompact, formatTicks, NONE } from '../../lib/format';
import classes from './chart.module.css';

export interface ChartSeries {
  label: string;
  values: readonly (number | null)[];
  /** A custom property such as `--app-chart-1`; the next in line by default. */
  color?: string;
  /** Whether the area below is tinted; so it is when there is one series. */
  fill?: boolean;
  /** Drawn as columns rather than as a line. */
  bars?: boolean;
}

export interface LiveChartProps {
  /** What it shows, for those who do not see it; the newest values are added. */
  label: string;
  /** Times of the values, ms since the epoch. */
  times: readonly number[];
  series: readonly ChartSeries[];
  height?: number;
  format?: (value: number | null) => string;
  /** Least span of the time axis, ms; what is older than the span that there is stays in view. */
  span?: number;
  /** The axis reaches at least up to there. */
  atLeast?: number;
  /** Charts of the same key share their cursor. */
  sync?: string;
}

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colorOf = (series: ChartSeries, i: number) => css(series.color ?? `--app-chart-${(i % 6) + 1}`);

/** Whether there is one value, which would be no line. */
const isAlone = (u: uPlot, series: number) => [...(u.data[series] ?? [])].filter((v) => v != null).length === 1;

/** Shows the values at the cursor. */
function tooltip(label: (u: uPlot, idx: number) => HTMLElement): uPlot.Plugin {
  const box = document.createElement('div');
  box.className = classes.tooltip ?? '';
  return {
    hooks: {
      init: (u) => {
        u.over.appendChild(box);
      },
      setCursor: (u) => {
        const { idx, left } = u.cursor;
        if (idx === null || idx === undefined || left === undefined || left < 0) {
          box.style.display = 'none';
          return;
        }
        box.replaceChildren(label(u, idx));
        box.style.display = 'block';
        const right = left > u.over.clientWidth / 2;
        box.style.left = right ? 'auto' : `${left + 12}px`;
        box.style.right = right ? `${u.over.clientWidth - left + 12}px` : 'auto';
      },
    },
  };
}

/** Lines over time that grow while one looks. */
export function LiveChart({ label, times, series, height = 160, format = formatCompact, span = 60_000, atLeast, sync }: LiveChartProps) {
  const { ref: frame, width } = useElementSize();
  const plot = useRef<uPlot>(null);
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  const shape = series.map((s) => `${s.label} ${s.color ?? ''} ${s.fill ?? ''} ${s.bars ?? ''}`).join('\n');

  const data = (): uPlot.AlignedData => [times.map((t) => t / 1000), ...series.map((s) => [...s.values])];
  const formatted = useEffectEvent((value: number | null) => format(value));
  const text = useEffectEvent((u: uPlot, idx: number) => {
    const content = document.createElement('div');
    const time = document.createElement('div');
    time.textContent = formatClock((u.data[0][idx] ?? 0) * 1000);
    time.className = classes.time ?? '';
    content.append(time);
    series.forEach((s, i) => {
      const line = document.createElement('div');
      const dot = document.createElement('i');
      dot.style.background = colorOf(s, i);
      const value = document.createElement('b');
      const at = u.data[i + 1]?.[idx];
      value.textContent = at === null || at === undefined ? NONE : format(at);
      line.append(dot, series.length > 1 ? `${s.label} ` : '', value);
      content.append(line);
    });
    return content;
  });

  // Made anew for other series, colours and heights; otherwise only told what is new.
  const make = useEffectEvent((into: HTMLElement) => {
    const [axis, grid] = [css('--mantine-color-dimmed'), css('--app-line')];
    const font = `11px ${css('--mantine-font-family')}`;
    const look = { stroke: axis, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const columns = uPlot.paths.bars?.({ size: [0.7, 40], radius: 0.15 });
    return new uPlot(
      {
        width: Math.max(width, 80),
        height,
        // The last time may stand at the very end of the axis.
        padding: [8, 26, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false }, ...(sync ? { sync: { key: sync } } : {}) },
        scales: {
          x: { time: true, range: (_, min, max) => [Math.min(min, max - span / 1000), max] },
          y: { range: (_, min, max) => [Math.min(0, min), Math.max(max * 1.12, atLeast ?? 0, max > 0 ? 0 : 1)] },
        },
        axes: [
          { ...look, grid: { show: false }, size: 22, space: 70, values: (_, splits) => formatTicks(splits.map((s) => s * 1000)) },
          {
            ...look,
            space: 34,
            gap: 6,
            size: (_, values) => (values ? Math.max(36, 14 + 6.4 * Math.max(...values.map((v) => v.length))) : 36),
            values: (_, splits) => splits.map((v) => formatted(v)),
          },
        ],
        series: [
          {},
          ...series.map((s, i): uPlot.Series => {
            const color = colorOf(s, i);
            const tint = s.fill ?? (series.length === 1 || s.bars === true);
            return {
              label: s.label,
              stroke: color,
              width: s.bars ? 0 : 1.6,
              ...(s.bars && columns ? { paths: columns, fill: color } : tint ? { fill: `color-mix(in srgb, ${color} 13%, transparent)` } : {}),
              points: { show: s.bars !== true && isAlone, size: 6, fill: color },
              spanGaps: false,
            };
          }),
        ],
        plugins: [tooltip(text)],
      },
      data(),
      into,
    );
  });

  useEffect(() => {
    if (!place.current) return;
    const made = make(place.current);
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
  }, [shape, scheme, height, sync, span, atLeast]);

  useEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height });
  }, [width, height]);

  useEffect(() => {
    plot.current?.setData(data());
  });

  const newest = series.map((s) => `${s.label} ${format(s.values.findLast((v) => v !== null) ?? null)}`).join(', ');
  return (
    <div ref={frame} role="img" aria-label={`${label}: ${newest}`} style={{ width: '100%', height, minWidth: 0 }}>
      <div ref={place} aria-hidden />
    </div>
  );
}
