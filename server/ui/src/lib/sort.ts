export type SortKey = string | number | boolean | null | undefined;

/** Rows by a key: numbers by size, texts as people sort them, what is not known last either way. Stable. */
export function sortRows<Row>(rows: readonly Row[], by: (row: Row) => SortKey, descending: boolean): Row[] {
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === y) return 0;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    if (typeof x === 'string' && typeof y === 'string') return sign * x.localeCompare(y, undefined, { numeric: true });
    return sign * (Number(x) - Number(y));
  });
}
