import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// Where a running cohort answers, for `npm run dev`.
const api = process.env.COHORT_API ?? 'http://127.0.0.1:8080';
const proxy = Object.fromEntries(['/api', '/docs', '/metrics', '/healthz', '/readyz'].map((path) => [path, { target: api }]));

/** Leaves a compressed file beside each that is worth it; the binary serves those as they are. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    writeBundle({ dir = '' }, bundle) {
      for (const name of Object.keys(bundle).filter((name) => /\.(html|js|css|svg|json)$/.test(name))) {
        const file = path.join(dir, name);
        const compressed = brotliCompressSync(readFileSync(file));
        writeFileSync(`${file}.br`, compressed);
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), precompress()],
  server: { proxy },
  preview: { proxy },
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 700,
    outDir: 'embedded/dist',
    // Files of icons and the like are few; a data URI would be in the way of a strict content security policy.
    assetsInlineLimit: 0,
  },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx'], environment: 'node' },
});
