import type { Page } from '@playwright/test';
import { expect, expectAccessible, expectToFit, PHONE, test, type Cohort } from './cohort';

const SPENDERS = { name: 'Spenders', type: 'INDEPENDENT', windowMinutes: 60, rules: [{ eventType: 'orders', attribute: 'sum', operator: 'GT', value: 5 }] };

interface Event {
  eventType: string;
  value: number;
  metadata: Record<string, string>;
}

const TOPICS = [
  ['Purchases', 'order_events', 'purchase', ['category', 'paymentMethod']],
  ['Views', 'activity_events', 'view', ['page', 'referrer', 'device']],
  ['Installs', 'install_events', 'install', ['version', 'platform', 'source']],
] as const;

const sample = (page: Page) => page.getByRole('table', { name: 'First events' });
const count = (page: Page) => page.getByRole('textbox', { name: 'Events', exact: true });
const send = (page: Page) => page.getByRole('button', { name: /^Send / });
const prefix = (page: Page) => page.getByLabel('User prefix');

const eventsOf = (cohort: Cohort, user: string) => cohort.call<Event[]>('GET', `/users/${user}/events`);

/** Events that came in, whatever the topic. */
async function taken(cohort: Cohort): Promise<number> {
  const topics = await cohort.call<{ events: number }[]>('GET', '/events/topics');
  return topics.reduce((sum, t) => sum + t.events, 0);
}

for (const [name, topic, eventType, keys] of TOPICS) {
  test(`makes ${name.toLowerCase()}, as they were shown before`, async ({ page, cohort }) => {
    await page.goto('/events/generate');
    await expect(page).toHaveTitle('Event generator · Cohort');
    await page.getByRole('radio', { name: `${name}, ${topic}` }).click();
    await expect(page).toHaveURL(new RegExp(`topic=${topic}`));
    await expect(page.getByLabel('What is made')).toContainText(eventType);
    await prefix(page).fill(`${eventType}_`);
    await expect(sample(page).getByRole('row')).toHaveCount(6);
    const first = sample(page).getByRole('row').nth(1);
    await expect(first).toContainText(`${eventType}_1`);
    for (const key of keys) await expect(first).toContainText(key);
    const value = Number(await first.getByRole('cell').nth(2).textContent());

    await count(page).fill('20');
    await page.getByRole('button', { name: 'Send 20 events', exact: true }).click();
    await expect(page.getByText('20 events were taken in')).toBeVisible();
    await expect(page.getByRole('status').filter({ hasText: 'taken in' })).toContainText(`to ${topic}`);
    await expect.poll(() => eventsOf(cohort, `${eventType}_1`)).toHaveLength(1);
    const [event] = await eventsOf(cohort, `${eventType}_1`);
    expect(event).toMatchObject({ eventType, value });
    expect(Object.keys(event?.metadata ?? {}).sort()).toEqual([...keys].sort());
  });
}

test.describe('where clocks have 12 hours', () => {
  test.use({ locale: 'en-US' });

  test('shows times of 24 hours, each in one line', async ({ page }) => {
    for (const size of [{ width: 1280, height: 800 }, PHONE]) {
      await page.setViewportSize(size);
      await page.goto('/events/generate');
      const times = sample(page).locator('time');
      await expect(times).toHaveText(Array<RegExp>(5).fill(/^\d\d:\d\d:\d\d$/));
      expect(await times.evaluateAll((all) => all.map((time) => time.getClientRects().length))).toEqual([1, 1, 1, 1, 1]);
    }
  });
});

test('takes 1 to 1,000 events, and says so', async ({ page }) => {
  await page.goto('/events/generate');
  for (const wrong of ['0', '1001', '-5', '']) {
    await count(page).fill(wrong);
    await expect(page.getByText('A whole number from 1 to 1,000')).toBeVisible();
    await expect(send(page)).toBeDisabled();
  }
  for (const [right, button] of [['1', 'Send 1 event'], ['1000', 'Send 1,000 events']] as const) {
    await count(page).fill(right);
    await expect(page.getByText('A whole number from 1 to 1,000')).toBeHidden();
    await expect(page.getByRole('button', { name: button, exact: true })).toBeEnabled();
  }
  await count(page).fill('1');
  await expect(sample(page).getByRole('row')).toHaveCount(2);
});

test('wants user ids that begin with something short', async ({ page }) => {
  await page.goto('/events/generate');
  await prefix(page).fill('');
  await expect(page.getByText('User ids have to begin with something')).toBeVisible();
  await expect(send(page)).toBeDisabled();
  await prefix(page).fill('é'.repeat(40));
  await expect(page.getByText('At most 64 bytes')).toBeVisible();
  await prefix(page).fill('shopper_');
  await expect(sample(page)).toContainText('shopper_5');
  await expect(send(page)).toBeEnabled();
});

test('shows how it goes, and who enters a segment by it', async ({ page, cohort }) => {
  await cohort.call('POST', '/segments', SPENDERS);
  // Slow enough to be seen.
  await page.route('**/api/v1/events?*', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 150));
    await route.continue();
  });
  await page.goto('/events/generate');
  await prefix(page).fill('keen_');
  await count(page).fill('1000');
  await page.getByRole('radio', { name: /Within the last second/ }).check();
  await send(page).click();
  await expect(page.getByText(/^[1-9]00 of 1,000 sent$/)).toBeVisible();
  await expect(page.getByRole('progressbar', { name: 'Sent' })).toBeVisible();
  await expect(count(page)).toBeDisabled();
  await expect(page.getByText('1,000 events were taken in')).toBeVisible();
  await expect(page.getByRole('list', { name: 'Entered and left, newest first' }).getByRole('listitem').first()).toContainText(/keen_\d+ entered Spenders/);
  await expect.poll(async () => (await cohort.call<{ size: number }>('GET', '/segments/Spenders/stats')).size).toBe(100);
  await page.getByRole('status').getByRole('link', { name: 'See segments' }).click();
  await expect(page).toHaveURL(/\/segments$/);
});

test('goes on until it is stopped', async ({ page, cohort }) => {
  await page.goto('/events/generate');
  await page.getByText('Until stopped', { exact: true }).click();
  const rate = page.getByRole('textbox', { name: 'Events a second' });
  await rate.fill('501');
  await expect(page.getByText('A whole number from 1 to 500')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Start' })).toBeDisabled();
  await rate.fill('40');
  await page.getByRole('button', { name: 'Start' }).click();
  const progress = page.getByText(/^\d+ events taken in, /);
  await expect(progress).toBeVisible();
  await expect.poll(async () => Number.parseInt((await progress.textContent()) ?? '', 10), { timeout: 15_000 }).toBeGreaterThan(120);
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(page.getByText(/^\d+ events were taken in$/)).toBeVisible();
  const before = await taken(cohort);
  await page.waitForTimeout(2_500);
  expect(await taken(cohort)).toBe(before);
  await expect(page.getByRole('button', { name: 'Start' })).toBeEnabled();
});

test('says that the service is gone, and tries again', async ({ page, cohort, errors }) => {
  errors.allow(/Failed to load resource/);
  await page.goto('/events/generate');
  await count(page).fill('10');
  await cohort.stop();
  await send(page).click();
  await expect(page.getByRole('alert')).toContainText('Cohort cannot be reached');
  await expect(page.getByText('Nothing was taken in.')).toBeVisible();
  await cohort.start();
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('10 events were taken in')).toBeVisible();
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('/events/generate');
    await expect(sample(page)).toBeVisible();
    await count(page).fill('0');
    await expectAccessible(page);
    await count(page).fill('5');
    await send(page).click();
    await expect(page.getByText('5 events were taken in')).toBeVisible();
    await expectAccessible(page);
  });
}

test('fits a phone', async ({ page }) => {
  await page.setViewportSize(PHONE);
  await page.goto('/events/generate');
  await expect(sample(page)).toBeVisible();
  await expectToFit(page);
  await send(page).click();
  await expect(page.getByText('100 events were taken in')).toBeInViewport();
  await expectToFit(page);
});
