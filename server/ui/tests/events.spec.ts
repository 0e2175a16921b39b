import { expect, expectAccessible, test } from './cohort';

test.use({ of: 'events' });

const SPENDERS = { name: 'Spenders', type: 'INDEPENDENT', windowMinutes: 60, rules: [{ eventType: 'orders', attribute: 'sum', operator: 'GT', value: 5 }] };

test('generates purchases, and shows what comes of them', async ({ page, cohort }) => {
  await cohort.call('POST', '/segments', SPENDERS);
  await page.goto('/events/generate');
  await expect(page).toHaveTitle('Event generator · Cohort');
  await page.getByLabel('User prefix').fill('shopper_');
  const sample = page.getByRole('table', { name: 'First events' });
  await expect(sample.getByRole('row')).toHaveCount(6);
  await expect(sample).toContainText('shopper_');
  await page.getByRole('textbox', { name: 'Events', exact: true }).fill('20');
  await page.getByRole('radio', { name: /Within the last second/ }).check();
  await page.getByRole('button', { name: /^Send 20 events/ }).click();
  await expect(page.getByText('20 events were taken in')).toBeVisible();
  await expect(page.getByRole('list', { name: 'Entered and left, newest first' }).getByRole('listitem').first()).toContainText(/shopper_\d+ entered Spenders/);
  const { size } = await cohort.call<{ size: number }>('GET', '/segments/Spenders/stats');
  expect(size).toBeGreaterThan(0);
});

test('keeps what was refused, with the reason', async ({ page, cohort }) => {
  await page.goto('/events/dead-letters');
  await expect(page.getByText('There are no dead letters')).toBeVisible();
  await cohort.call('POST', '/events', [{ userId: 'u1', eventType: 'purchase', timestamp: 'yesterday', value: 1 }, { eventType: 'view', timestamp: 1 }]);
  const letters = page.getByRole('table', { name: 'Dead letters' });
  await expect(letters.getByRole('row')).toHaveCount(3);
  await expect(page.getByRole('list', { name: 'Reasons' }).getByRole('listitem').first()).toBeVisible();
  await letters
    .getByRole('row')
    .filter({ hasText: /yesterday/ })
    .getByRole('button', { name: /^Open the dead letter/ })
    .click();
  await expect(page.getByRole('dialog')).toContainText('yesterday');
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('/events/generate');
    await expect(page.getByRole('table', { name: 'First events' })).toBeVisible();
    await expectAccessible(page);
    await page.goto('/events/dead-letters');
    await expect(page.getByRole('table', { name: 'Dead letters' })).toBeVisible();
    await expectAccessible(page);
  });
}
