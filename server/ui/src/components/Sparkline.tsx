interface SparklineProps {
  values: readonly (number | null)[];
  width?: number;
  height?: number;
  color?: string;
  /** Said by screen readers; without it the line is decoration. */
  label?: string;
  /** Whether the scale begins at 0 rather than at the least value. */
  fromZero?: boolean;
}

/** A small line without axes, from the first value that is known. It fills the width of its place when `width` is left out. */
export function Sparkline({ values: all, width, height = 28, color = 'var(--app-chart-1)', label, fromZero = false }: SparklineProps) {
  const values = all.slice(Math.max(0, all.findIndex((v) => v !== null)));
  const known = values.filter((v): v is number => v !== null);
  const [low, high] = [fromZero ? Math.min(0, ...known) : Math.min(...known), Math.max(...known)];
  const inner = height - 4;
  const span = high - low;
  const x = (i: number) => (values.length < 2 ? 0 : (i * 100) / (values.length - 1));
  const y = (v: number) => (span > 0 ? 2 + inner - ((v - low) / span) * inner : low === 0 && fromZero ? height - 2 : height / 2);
  const runs: string[] = [];
  let run: string[] = [];
  values.forEach((v, i) => {
    if (v !== null) run.push(`${x(i).toFixed(2)},${y(v).toFixed(2)}`);
    if ((v === null || i === values.length - 1) && run.length > 0) {
      runs.push(run.join(' '));
      run = [];
    }
  });
  return (
    <svg
      viewBox={`0 0 100 ${height}`}
      preserveAspectRatio="none"
      width={width ?? '100%'}
      height={height}
      style={{ display: 'block', overflow: 'visible' }}
      {...(label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': true })}
    >
      {known.length > 1 &&
        runs.map((points) => (
          <g key={points.slice(0, 24)}>
            <polygon points={`${points.split(',', 1)[0] ?? 0},${height} ${points} ${points.split(' ').at(-1)?.split(',')[0] ?? 100},${height}`} fill={color} opacity={0.1} />
            <polyline points={points} fill="none" stroke={color} strokeWidth={1.5} strokeLinejoin="round" vectorEffect="non-scaling-stroke" />
          </g>
        ))}
    </svg>
  );
}
