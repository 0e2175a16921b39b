// A real service for tests, and pages that fail a test by any error in the console.
import AxeBuilder from '@axe-core/playwright';
import { expect, test as base, type Page } from '@playwright/test';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { preview, type PreviewServer } from 'vite';

const root = path.resolve(import.meta.dirname, '..');
const binary = path.resolve(root, process.env.COHORT ?? '../../target/release/cohort');

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export interface Options {
  /** `serve` or `demo`, with `--set key=value` and the like. */
  args: string[];
}

/** A service with a folder of its own. It can stop and start again on the same address and data. */
export class Cohort {
  private process: ChildProcess | undefined;
  private proxy: PreviewServer | undefined;
  private log = '';
  private uiUrl = '';

  private constructor(
    private readonly args: string[],
    private readonly folder: string,
    /** Where the API answers. */
    readonly api: string,
  ) {}

  static async create(args: string[]): Promise<Cohort> {
    // Beside what npm installed: there it may be written, whatever the system's folder for such files is.
    const folders = path.join(root, 'node_modules', '.cohort');
    await mkdir(folders, { recursive: true });
    const folder = await mkdtemp(path.join(folders, 'service-'));
    const cohort = new Cohort(args, folder, `http://127.0.0.1:${await freePort()}`);
    await cohort.start();
    return cohort;
  }

  /** Where the UI is: the service itself, or Vite's preview with COHORT_UI_DEV=1. */
  get url(): string {
    return this.uiUrl;
  }

  async start(): Promise<void> {
    const settings = [`server.listen=${this.api.replace('http://', '')}`, `data=${this.folder}/data`, `catalog.url=sqlite:${this.folder}/catalog.db`];
    settings.push(`checkpoint.url=file:${this.folder}/checkpoints`);
    const child = spawn(binary, [...this.args, ...settings.flatMap((s) => ['--set', s])], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    let failed = false;
    child.on('error', (error) => {
      failed = true;
      this.log += String(error);
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => (this.log = (this.log + text.toString()).slice(-20_000)));
    const until = Date.now() + 30_000;
    for (;;) {
      const ready = await fetch(`${this.api}/readyz`).then((r) => r.ok, () => false);
      if (ready) break;
      if (failed || child.exitCode !== null || Date.now() > until) throw new Error(`${binary} does not get ready:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (process.env.COHORT_UI_DEV === '1') {
      if (!this.proxy) {
        const port = await freePort();
        const proxy = Object.fromEntries(['/api', '/docs', '/metrics', '/healthz', '/readyz'].map((at) => [at, { target: this.api }]));
        this.proxy = await preview({ root, logLevel: 'silent', preview: { port, strictPort: true, host: '127.0.0.1', proxy } });
        this.uiUrl = `http://127.0.0.1:${port}`;
      }
    } else {
      this.uiUrl = this.api;
    }
  }

  async stop(): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null) return;
    this.process = undefined;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await gone;
    clearTimeout(timer);
  }

  async dispose(): Promise<void> {
    await this.stop();
    await this.proxy?.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Calls the API: `await cohort.call('POST', '/segments', {...})`. Fails on any answer that is not a success. */
  async call<T = unknown>(method: string, at: string, body?: unknown): Promise<T> {
    const response = await fetch(`${this.api}/api/v1${at}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${at}: ${response.status} ${text}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }
}

/** What a page said in its console that it should not have. */
export class Errors {
  readonly found: string[] = [];
  private readonly allowed: RegExp[] = [];

  /** Errors that the test brings about itself, e.g. by stopping the service. */
  allow(pattern: RegExp): void {
    this.allowed.push(pattern);
  }

  watch(page: Page): void {
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.found.push(`${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => this.found.push(error.stack ?? error.message));
  }

  left(): string[] {
    return this.found.filter((text) => !this.allowed.some((pattern) => pattern.test(text)));
  }
}

/** The service of the file that runs: what tests do is no matter to those of other files. */
class Services {
  private running: { of: string; cohort: Cohort } | undefined;

  async of(file: string, args: string[]): Promise<Cohort> {
    const of = [file, ...args].join('\n');
    if (this.running?.of === of) return this.running.cohort;
    await this.dispose();
    const cohort = await Cohort.create(args);
    this.running = { of, cohort };
    return cohort;
  }

  async dispose(): Promise<void> {
    await this.running?.cohort.dispose();
    this.running = undefined;
  }
}

interface Fixtures extends Options {
  cohort: Cohort;
  errors: Errors;
}

export const test = base.extend<Fixtures, { services: Services }>({
  args: [['serve'], { option: true }],

  services: [
    // eslint-disable-next-line no-empty-pattern -- Playwright wants a pattern
    async ({}, use) => {
      const services = new Services();
      await use(services);
      await services.dispose();
    },
    { scope: 'worker', timeout: 60_000 },
  ],

  cohort: async ({ services, args }, use, { file }) => {
    await use(await services.of(file, args));
  },

  baseURL: async ({ cohort }, use) => {
    await use(cohort.url);
  },

  errors: [
    async ({ page }, use) => {
      const errors = new Errors();
      errors.watch(page);
      await use(errors);
      expect(errors.left(), 'errors in the console').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Fails on anything that axe calls serious or critical. */
export async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
  const text = serious.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `  ${n.html}\n  ${n.failureSummary ?? ''}`).join('\n')}`);
  expect(text, 'accessibility').toEqual([]);
}

/** Fails when the page is wider than the screen. */
export async function expectToFit(page: Page): Promise<void> {
  const width = page.viewportSize()?.width ?? 0;
  expect(await page.evaluate(() => document.documentElement.scrollWidth), 'width of the page').toBeLessThanOrEqual(width);
}

export const PHONE = { width: 390, height: 844 };

/** The service of the demo: sample segments, and events as they would come. */
export const DEMO = ['demo', '--rate', '400', '--users', '2000'];
