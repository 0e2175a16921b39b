import { defineConfig, devices } from '@playwright/test';

const screenshots = process.env.SCREENSHOTS !== undefined;

export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results/output',
  // Each worker has a service of its own.
  workers: Number(process.env.WORKERS ?? 1),
  forbidOnly: process.env.CI !== undefined,
  timeout: 60_000,
  // A fault of all tests is told by the first ones.
  maxFailures: 6,
  expect: { timeout: 10_000 },
  reporter: [['list']],
  use: {
    ...devices['Desktop Chrome'],
    viewport: { width: 1280, height: 800 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    trace: 'retain-on-failure',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] },
  },
  projects: screenshots ? [{ name: 'screenshots', testMatch: /screenshots\.ts$/ }] : [{ name: 'e2e', testMatch: /\.spec\.ts$/ }],
});
