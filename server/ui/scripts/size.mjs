// Fails when the UI has become larger than it may be: what a browser loads if it opens every page, compressed.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { gzipSync } from 'node:zlib';

const MOST = 1_000_000;
const dist = path.resolve(import.meta.dirname, '../embedded/dist');
/** Fonts are compressed already. */
const packed = /\.(woff2|png|jpg|gz)$/;

const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && !/\.(map|br)$/.test(entry.name))
  .map((entry) => path.join(entry.parentPath, entry.name))
  .map((file) => {
    const bytes = readFileSync(file);
    return { name: path.relative(dist, file), size: packed.test(file) ? bytes.length : gzipSync(bytes).length };
  })
  .sort((a, b) => b.size - a.size);
const total = files.reduce((sum, file) => sum + file.size, 0);
const kilobytes = (size) => `${(size / 1000).toFixed(0)} kB`;

process.stdout.write(`compressed ${kilobytes(total)} of ${kilobytes(MOST)}\n`);
if (total > MOST) {
  const largest = files.slice(0, 8).map((file) => `  ${kilobytes(file.size).padStart(8)}  ${file.name}`);
  process.stderr.write(`The UI is too large. The largest files:\n${largest.join('\n')}\n`);
  process.exit(1);
}
