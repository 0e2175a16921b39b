import { readFile } from 'node:fs/promises';
import type { Page } from '@playwright/test';
import { expect, expectAccessible, expectToFit, PHONE, test, type Cohort } from './cohort';

const SQL = (where: string) =>
  `SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '1 day') WHERE ${where} GROUP BY user_id, window_start, window_end HAVING sum(value) > 500`;

const buy = (cohort: Cohort, users: readonly string[], value: number) =>
  cohort.call(
    'POST',
    '/events',
    users.map((userId) => ({ userId, eventType: 'purchase', timestamp: Date.now(), value })),
  );

/** 1,204 users, so that an export takes more than one look. */
const MANY = Array.from({ length: 1_200 }, (_, i) => `user_${String(i).padStart(4, '0')}`);
const ODD = ['a "quoted", one', 'user-x', 'user-y', 'user-z'];

test.beforeAll(async ({ cohort }) => {
  await cohort.call('POST', '/segments', { name: 'spenders', sql: SQL("event_type = 'purchase'"), description: 'Who spends more than 500 a day' });
  await cohort.call('POST', '/segments', { name: 'spenders_too', sql: SQL("event_type = 'purchase'").replace('500', '700') });
  await cohort.call('POST', '/segments', { name: 'viewers', sql: SQL("event_type = 'view'") });
  await cohort.call('POST', '/segments', { name: 'both', sql: 'SELECT s.user_id, s.value + v.value AS value FROM spenders s JOIN viewers v USING (user_id)' });
  await buy(cohort, [...MANY, ...ODD], 600);
  await expect(async () => {
    const { size } = await cohort.call<{ size: number }>('GET', '/segments/spenders/stats');
    expect(size).toBe(1_204);
  }).toPass();
});

const tab = (page: Page, name: string) => page.getByRole('tab', { name: new RegExp(`^${name}`) }).click();

test('shows size, movement and definition, and goes on live', async ({ page, cohort }) => {
  await page.goto('/segments/spenders');
  await expect(page).toHaveTitle('spenders · Cohort');
  await expect(page.getByText('Who spends more than 500 a day')).toBeVisible();
  await expect(page.getByText('running', { exact: true })).toBeVisible();
  const figures = page.getByRole('region', { name: 'Figures' });
  await expect(figures).toContainText('1,204');
  await expect(page.getByRole('img', { name: 'Size: Members 1,204' })).toBeVisible();
  await expect(page.getByRole('img', { name: /^Entered and left: Entered \d/ })).toBeVisible();
  expect(await page.getByRole('img', { name: /^Size/ }).locator('canvas').count()).toBe(1);
  await expect(page.getByRole('textbox', { name: 'The SQL of spenders' })).toContainText("event_type = 'purchase'");

  const feed = page.getByRole('list', { name: 'Newest first' });
  await expect(page.getByText(/^live, /)).toBeVisible();
  await buy(cohort, ['late-comer'], 999);
  await expect(feed.getByRole('listitem').first()).toContainText('late-comer');
  await expect(feed.getByRole('listitem').first()).toContainText('999');
  await expect(figures).toContainText('1,205');
  await expect(page.getByRole('img', { name: 'Size: Members 1,205' })).toBeVisible();
  await feed.getByRole('link', { name: 'late-comer' }).click();
  await expect(page).toHaveURL(/\/users\/late-comer$/);
});

test('fills in what came while it was cut off, and has nothing twice', async ({ page, cohort, errors }) => {
  errors.allow(/Failed to load resource/);
  await page.goto('/segments/spenders');
  const feed = page.getByRole('list', { name: 'Newest first' });
  await expect(page.getByText(/^live, 0 entered/)).toBeVisible();
  await buy(cohort, ['before-it'], 700);
  await expect(feed.getByRole('link', { name: 'before-it' })).toHaveCount(1);

  await cohort.stop();
  await expect(page.getByText('Connecting', { exact: true })).toBeVisible({ timeout: 4_000 });
  await cohort.start();
  await buy(cohort, ['meanwhile-1', 'meanwhile-2'], 700);
  await expect(page.getByText(/^live, 3 entered and 0 left/)).toBeVisible();
  await buy(cohort, ['after-it'], 700);
  await expect(page.getByText(/^live, 4 entered and 0 left/)).toBeVisible();
  for (const name of ['before-it', 'meanwhile-1', 'meanwhile-2', 'after-it']) await expect(feed.getByRole('link', { name })).toHaveCount(1);
  await expect(feed.getByRole('listitem').first()).toContainText('after-it');
});

test('charts draw what the service counted', async ({ page }) => {
  await page.goto('/segments/spenders');
  const chart = page.getByRole('img', { name: /^Entered and left/ });
  // Columns of the colour of who entered are on the canvas.
  await expect
    .poll(() =>
      chart.locator('canvas').evaluate((canvas: HTMLCanvasElement) => {
        const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
        let green = 0;
        for (let i = 0; i < pixels.length; i += 4) if ((pixels[i + 3] ?? 0) > 200 && (pixels[i + 1] ?? 0) > 90 && (pixels[i] ?? 255) < 80) green++;
        return green;
      }),
    )
    .toBeGreaterThan(50);
  await page.getByText('24h', { exact: true }).click();
  await expect(page.getByText('members in 30 minutes')).toBeVisible();
});

test('lists members, finds them, and exports all of them', async ({ page }) => {
  await page.goto('/segments/spenders');
  await tab(page, 'Members');
  const rows = page.getByRole('table', { name: 'Members' }).getByRole('row');
  await expect(rows).toHaveCount(51);
  await page.getByRole('button', { name: 'Next' }).click();
  await expect(page.getByText('51–100')).toBeVisible();
  await expect(rows.filter({ hasText: 'user_0060' })).toHaveCount(1);

  await page.getByRole('textbox', { name: 'Find members' }).fill('user_119');
  await expect(rows).toHaveCount(11);
  await expect(rows.nth(1)).toContainText('user_1190');
  await expect(rows.nth(1)).toContainText('600');
  await expect(page).toHaveURL(/q=user_119/);
  await page.reload();
  await expect(rows).toHaveCount(11);
  await page.getByRole('textbox', { name: 'Find members' }).fill('nobody');
  await expect(page.getByText('No member begins with nobody')).toBeVisible();
  await expect(page.getByRole('link', { name: 'Look up user nobody' })).toBeVisible();

  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export CSV' }).click()]);
  expect(download.suggestedFilename()).toMatch(/^spenders-members-\d{4}-\d\d-\d\d\.csv$/);
  const lines = (await readFile(await download.path(), 'utf8')).trimEnd().split(/\r?\n/);
  expect(lines[0]).toBe('userId,value,since,windowStart,windowEnd,expiresAt');
  const members = lines.slice(1).map((line) => line.split(',')[0]);
  for (const user of MANY) expect(members).toContain(user);
  expect(lines.find((line) => line.startsWith('user_0500,'))).toMatch(/^user_0500,600,\d{13},\d{8}00000,\d{8}00000,\d{13}$/);
  expect(lines.find((line) => line.includes('quoted'))).toMatch(/^"a ""quoted"", one",600/);
  expect(new Set(lines).size).toBe(lines.length);
});

test('shows what it reads and what reads it, and leads on', async ({ page }) => {
  await page.goto('/segments/both');
  const dependencies = page.getByRole('region', { name: 'Dependencies' }).first();
  await expect(dependencies.getByRole('link', { name: 'spenders' })).toBeVisible();
  await expect(dependencies.getByRole('link', { name: 'viewers' })).toBeVisible();
  await expect(dependencies.getByText('no segment')).toBeVisible();
  // A box of the graph leads on, by mouse and by keys.
  await dependencies.getByRole('group', { name: 'Segment spenders', exact: true }).click();
  await expect(page).toHaveURL(/\/segments\/spenders$/);
  await expect(page.getByRole('heading', { name: 'spenders', level: 1 })).toBeVisible();
  await expect(dependencies.getByText('events only')).toBeVisible();
  await dependencies.getByRole('group', { name: 'Derived segment both' }).press('Enter');
  await expect(page).toHaveURL(/\/segments\/both$/);
  await dependencies.getByRole('link', { name: 'viewers' }).click();
  await expect(page).toHaveURL(/\/segments\/viewers$/);
});

test('shows how it runs, what it shares, and its versions', async ({ page }) => {
  await page.goto('/segments/spenders?tab=plan');
  const plan = page.getByRole('region', { name: 'Plan' }).first();
  await expect(plan.locator('.react-flow__node').filter({ hasText: 'Scan' })).toContainText('events');
  await expect(plan.locator('.react-flow__node').filter({ hasText: 'Segment' })).toContainText('spenders');
  const shared = page.getByRole('region', { name: 'What it shares' });
  await expect(shared.getByRole('link', { name: 'spenders_too' }).first()).toBeVisible();
  await expect(page.getByLabel('Logical plan')).toContainText('Aggregate: groupBy');
  await page.getByText('Physical', { exact: true }).click();
  await expect(page.getByLabel('Physical plan')).toContainText('Segment: spenders');

  await tab(page, 'Versions');
  await expect(page).toHaveURL(/tab=versions/);
  await expect(page.getByRole('row').filter({ hasText: 'created' })).toContainText('local');
  await page.getByRole('link', { name: 'Compare in the editor' }).click();
  await expect(page).toHaveURL(/\/segments\/spenders\/edit/);
});

test('is paused, resumed and deleted', async ({ page, cohort }) => {
  await cohort.call('POST', '/segments', { name: 'short lived', sql: SQL("event_type = 'purchase'") });
  // It knows of purchases before it from the segment that means the same.
  const sizeOf = async (name: string) => (await cohort.call<{ size: number }>('GET', `/segments/${name}/stats`)).size;
  await expect.poll(async () => (await sizeOf('short%20lived')) - (await sizeOf('spenders'))).toBe(0);
  await page.goto('/segments/short%20lived');
  await expect(page.getByRole('link', { name: 'Edit' })).toHaveAttribute('href', /\/segments\/short%20lived\/edit/);
  await expect(page.getByText(/^live, /)).toBeVisible();
  await buy(cohort, ['someone'], 800);
  await expect(page.getByRole('list', { name: 'Newest first' }).getByRole('listitem').first()).toContainText('someone');
  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByRole('dialog')).toContainText('leave now');
  await page.getByRole('button', { name: 'Pause segment' }).click();
  await expect(page.getByText('This segment is paused')).toBeVisible();
  await expect(page.getByRole('region', { name: 'Figures' })).toContainText('Members0');
  await tab(page, 'How it runs');
  await expect(page.getByText('It does not run')).toBeVisible();
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByText('running', { exact: true })).toBeVisible();

  await page.getByRole('button', { name: 'Delete' }).click();
  const sure = page.getByRole('button', { name: 'Delete segment' });
  await expect(sure).toBeDisabled();
  await page.getByRole('textbox', { name: /to confirm/ }).fill('short lived');
  await sure.click();
  await expect(page).toHaveURL(/\/segments$/);
  await expect(page.getByText('short lived is deleted')).toBeVisible();
  const { items } = await cohort.call<{ items: { name: string }[] }>('GET', '/segments');
  expect(items.map((s) => s.name)).not.toContain('short lived');
});

test('is not paused or deleted while others read it, who are named', async ({ page }) => {
  await page.goto('/segments/viewers');
  const dialog = page.getByRole('dialog', { name: 'viewers is in use' });
  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(dialog).toContainText('so it cannot be paused');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Delete' }).click();
  await expect(dialog).toContainText('so it cannot be deleted');
  await dialog.getByRole('link', { name: 'both' }).click();
  await expect(page).toHaveURL(/\/segments\/both$/);
});

test('says that a segment is not there', async ({ page, errors }) => {
  errors.allow(/Failed to load resource.*404/);
  await page.goto('/segments/nope');
  await expect(page.getByText('There is no segment nope')).toBeVisible();
  await expect(page.getByRole('link', { name: 'New segment' })).toBeVisible();
  await page.getByRole('link', { name: 'All segments' }).click();
  await expect(page).toHaveURL(/\/segments$/);
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('/segments/both');
    await expect(page.getByRole('group', { name: 'Segment spenders', exact: true })).toBeVisible();
    await expect(page.getByRole('img', { name: /^Size: Members/ })).toBeVisible();
    await expectAccessible(page);
    for (const [name, shown] of [
      ['Members', page.getByRole('region', { name: 'Members' }).first()],
      ['How it runs', page.getByLabel('Logical plan')],
      ['Versions', page.getByRole('row').filter({ hasText: 'created' })],
    ] as const) {
      await tab(page, name);
      await expect(shown).toBeVisible();
      await expectAccessible(page);
    }
    await page.getByRole('button', { name: 'Delete' }).click();
    await expect(page.getByRole('dialog')).toBeVisible();
    await expectAccessible(page);
  });
}

test('fits a phone', async ({ page }) => {
  await page.setViewportSize(PHONE);
  await page.goto('/segments/both');
  await expect(page.getByRole('img', { name: /^Size: Members/ })).toBeVisible();
  await expectToFit(page);
  await tab(page, 'Members');
  await expect(page.getByRole('button', { name: 'Export CSV' })).toBeVisible();
  await expectToFit(page);
});
