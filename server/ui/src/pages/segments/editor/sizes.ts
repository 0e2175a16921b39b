interface Point {
  time: number;
  size: number;
}

const MINUTE = 60_000;
const MOST = 1_500;

/** Sizes at each minute, from those at which they changed; long times are thinned out by leaving gaps as they are. */
export function fillMinutes(points: readonly Point[]): Point[] {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last || (last.time - first.time) / MINUTE > MOST) return [...points];
  const filled: Point[] = [{ time: first.time - MINUTE, size: 0 }];
  for (const point of points) {
    const before = filled.at(-1);
    for (let time = (before?.time ?? point.time) + MINUTE; time < point.time; time += MINUTE) filled.push({ time, size: before?.size ?? 0 });
    filled.push(point);
  }
  return filled;
}
