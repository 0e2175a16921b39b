import type { Page } from '@playwright/test';
import { expect, expectAccessible, expectToFit, PHONE, test, type Cohort } from './cohort';

/** Sends a record just as it is. */
async function post(cohort: Cohort, record: string | Uint8Array<ArrayBuffer>): Promise<void> {
  const response = await fetch(`${cohort.api}/api/v1/events`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: record });
  expect(response.ok, await response.text()).toBe(true);
}

const event = (change: object) => JSON.stringify({ userId: 'ann', eventType: 'purchase', timestamp: Date.now(), value: 5, ...change });

const reasons = (page: Page) => page.getByRole('list', { name: 'Reasons' });
const reason = (page: Page, name: string) => reasons(page).getByRole('button', { name: new RegExp(`^${name}`) });
const letters = (page: Page) => page.getByRole('table', { name: 'Dead letters' }).getByRole('row').filter({ has: page.getByRole('button') });

async function open(page: Page, text: string | RegExp) {
  await letters(page).filter({ hasText: text }).first().getByRole('button', { name: /^Open the dead letter/ }).click();
  return page.getByRole('dialog', { name: 'Dead letter' });
}

test('has nothing at first, and shows what is refused while one looks', async ({ page, cohort }) => {
  await page.goto('/events/dead-letters');
  await expect(page).toHaveTitle('Dead letters · Cohort');
  await expect(page.getByText('There are no dead letters')).toBeVisible();
  await post(cohort, event({ timestamp: 'yesterday' }));
  await expect(letters(page)).toHaveCount(1);
  await expect(letters(page)).toContainText('Time is not in milliseconds');
});

test('are found by a shorter address', async ({ page }) => {
  await page.goto('/dead-letters?reason=missing_user_id');
  await expect(page).toHaveURL(/\/events\/dead-letters\?reason=missing_user_id$/);
  await expect(page.getByRole('heading', { name: 'Dead letters', level: 1 })).toBeVisible();
});

test.describe('of several reasons', () => {
  test.beforeAll(async ({ cohort }) => {
    for (const timestamp of ['soon', 1.5]) await post(cohort, event({ timestamp }));
    for (const userId of [undefined, undefined]) await post(cohort, event({ userId }));
    await post(cohort, event({ userId: 'bob', value: '12,50 €' }));
    await post(cohort, '{"userId": "ann",\n"eventType": "purchase"\n"value": 1}');
    await post(cohort, Uint8Array.from([...new TextEncoder().encode('{"userId":"'), 0xff, 0xfe, ...new TextEncoder().encode('"}')]));
  });

  test('are counted by reason, and filtered by it', async ({ page }) => {
    await page.goto('/events/dead-letters');
    await expect(letters(page)).toHaveCount(8);
    await expect(reasons(page).getByRole('listitem').first()).toContainText('Time is not in milliseconds');
    await expect(reason(page, 'Time is not in milliseconds')).toContainText(/milliseconds\s*3/);
    await expect(reason(page, 'No user')).toContainText(/No user\s*2/);
    await expect(reasons(page).getByRole('listitem')).toHaveCount(5);

    await reason(page, 'No user').click();
    await expect(page).toHaveURL(/reason=missing_user_id/);
    await expect(letters(page)).toHaveCount(2);
    await expect(page.getByRole('heading', { name: 'No user', level: 2 })).toBeVisible();
    await page.reload();
    await expect(letters(page)).toHaveCount(2);
    await expect(reason(page, 'No user')).toHaveAttribute('aria-pressed', 'true');
    await reason(page, 'No user').click();
    await expect(letters(page)).toHaveCount(8);
  });

  test('say what was wrong, and where in the record', async ({ page }) => {
    await page.goto('/events/dead-letters');
    const dialog = await open(page, 'soon');
    await expect(dialog).toContainText('Timestamp is the text "soon", and must be whole milliseconds since the epoch.');
    await expect(dialog).toContainText('sent over HTTP');
    await expect(dialog.locator('mark')).toHaveText(/"timestamp": "soon",/);
    await page.keyboard.press('Escape');
    await expect(dialog).toBeHidden();

    const broken = await open(page, /eventType.*purchase"\s*"value/);
    await expect(broken).toContainText('It is not JSON');
    await expect(broken.locator('mark')).toHaveText(/"value": 1/);
  });

  test('show bytes that are no text', async ({ page }) => {
    await page.goto('/events/dead-letters?reason=not_utf8');
    await expect(letters(page)).toHaveCount(1);
    const dialog = await open(page, 'bytes');
    await expect(dialog.getByLabel('The record, as bytes')).toContainText('000000  7b 22 75 73 65 72 49 64 22 3a 22 ff fe 22 7d');
    await expect(dialog.getByLabel('The record, as bytes')).toContainText('{"userId":".."}');
    await expect(dialog).toContainText('15 B');
  });

  test('are repaired and sent again', async ({ page, cohort }) => {
    await page.goto('/events/dead-letters?reason=invalid_value');
    const dialog = await open(page, 'bob');
    await expect(dialog).toContainText('value: "12,50 €" became 12.5');
    await dialog.getByRole('button', { name: 'Send it again' }).click();
    await expect(dialog.getByText('It was taken in')).toBeVisible();
    await expect(dialog.getByRole('button', { name: 'Send it again' })).toBeDisabled();
    await expect.poll(async () => (await cohort.call<{ value: number }[]>('GET', '/users/bob/events')).map((e) => e.value)).toEqual([12.5]);
  });

  test('are refused again while they are wrong', async ({ page }) => {
    await page.goto('/events/dead-letters?reason=missing_user_id');
    const dialog = await open(page, 'purchase');
    await dialog.getByRole('button', { name: 'Send it again' }).click();
    await expect(dialog.getByRole('alert').filter({ hasText: 'Refused again: no user' })).toBeVisible();
    const record = dialog.getByLabel('Repaired record');
    await record.fill((await record.inputValue()).replace('{', '{ "userId": "carla",'));
    await dialog.getByRole('button', { name: 'Send it again' }).click();
    await expect(dialog.getByText('It was taken in')).toBeVisible();
  });

  for (const colorScheme of ['light', 'dark'] as const) {
    test(`are accessible, ${colorScheme}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.goto('/events/dead-letters');
      await expect(letters(page).first()).toBeVisible();
      await expectAccessible(page);
      await expect((await open(page, 'soon')).getByLabel('Repaired record')).toBeVisible();
      await expectAccessible(page);
    });
  }

  test('fit a phone', async ({ page }) => {
    await page.setViewportSize(PHONE);
    await page.goto('/events/dead-letters');
    await expect(letters(page).first()).toBeVisible();
    await expectToFit(page);
    const dialog = await open(page, 'soon');
    await expect(dialog.getByRole('button', { name: 'Send it again' })).toBeVisible();
    await expectToFit(page);
  });
});
