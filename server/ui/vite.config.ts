import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

// Where a running cohort answers, for `npm run dev`.
const api = process.env.COHORT_API ?? 'http://127.0.0.1:8080';
const proxy = Object.fromEntries(['/api', '/docs', '/metrics', '/healthz', '/readyz'].map((path) => [path, { target: api }]));

export default defineConfig({
  plugins: [react()],
  server: { proxy },
  preview: { proxy },
  build: {
    target: 'es2022',
    // Files of icons and the like are few; a data URI would be in the way of a strict content security policy.
    assetsInlineLimit: 0,
  },
  test: { include: ['src/**/*.test.ts', 'src/**/*.test.tsx'], environment: 'node' },
});
