// Members as CSV.
import { fetchMembers, type Member } from '../../../api';

const HEADER = 'userId,value,since,windowStart,windowEnd,expiresAt';
const SLICE = 1_000;

const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const time = (ms: number) => (Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : '');

/** Lines of a CSV file; times are in UTC. */
export const csvLines = (members: readonly Member[]): string =>
  members.map((m) => `${[quoted(m.userId), m.value ?? '', time(m.since), time(m.windowStart), time(m.windowEnd), time(m.expiresAt)].join(',')}\r\n`).join('');

/** All members as CSV, slice by slice; `told` how many there are so far. */
export async function exportMembers(name: string, told: (count: number) => void, signal?: AbortSignal): Promise<Blob> {
  const parts = [`${HEADER}\r\n`];
  let count = 0;
  for (let cursor: string | undefined; ; ) {
    const slice = await fetchMembers(name, { limit: SLICE, cursor }, signal);
    parts.push(csvLines(slice.items));
    count += slice.items.length;
    told(count);
    cursor = slice.cursor ?? undefined;
    if (cursor === undefined) return new Blob(parts, { type: 'text/csv;charset=utf-8' });
  }
}

/** Gives a file to the browser to keep. */
export function save(blob: Blob, name: string) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 10_000);
}

/** A name for a file that all systems take. */
export const fileName = (segment: string, now: number) => `${segment.replace(/[^\w.-]+/g, '_')}-members-${new Date(now).toISOString().slice(0, 10)}.csv`;
