import { DEMO, expect, expectAccessible, PHONE, test } from './cohort';

test.use({ args: DEMO });

test('shows live figures, sizes, and who enters', async ({ page }) => {
  await page.goto('/');
  await expect(page).toHaveTitle('Dashboard · Cohort');
  await expect(page.getByRole('img', { name: /^Events: Events \d/ })).toBeVisible();
  await expect(page.getByRole('link', { name: 'high_spenders' }).first()).toBeVisible();
  const feed = page.getByRole('list', { name: 'Newest first' });
  await expect(feed.getByRole('listitem').first()).toContainText(/entered|left/);
  await page.getByRole('button', { name: 'Hold' }).click();
  await expect(page.getByText('Held')).toBeVisible();
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('/');
    await expect(page.getByRole('img', { name: /^Events: Events \d/ })).toBeVisible();
    await expect(page.getByRole('list', { name: 'Newest first' })).toBeVisible();
    await page.getByRole('button', { name: 'Hold' }).click();
    await expectAccessible(page);
  });
}

test('says that the service is gone, and heals when it is back', async ({ page, cohort, errors }) => {
  errors.allow(/Failed to load resource/);
  await page.goto('/');
  await expect(page.getByTestId('connection')).toContainText(/Live|attention/);
  await cohort.stop();
  await expect(page.getByText('Cohort does not answer.')).toBeVisible();
  await expect(page.getByTestId('connection')).toHaveText('Not connected');
  await cohort.start();
  await expect(page.getByText('Cohort does not answer.')).toBeHidden();
  await expect(page.getByRole('list', { name: 'Newest first' }).getByRole('listitem').first()).toBeVisible();
  await expect(page.getByText(/left since you came/)).toBeVisible();
});

test('shows the last minutes at once, and goes on without a gap', async ({ page, cohort }) => {
  const history = async () => (await cohort.call<{ points: unknown[] }>('GET', '/status/history')).points.length;
  await expect.poll(history, { timeout: 30_000 }).toBeGreaterThan(3);
  await page.goto('/');
  const chart = page.getByRole('img', { name: /^Events: / });
  // A rate takes two samples: there would be none before the second look at the status.
  await expect(chart).toHaveAccessibleName(/^Events: Events [1-9]\d*\/s$/, { timeout: 2_000 });
  await expect(page.getByRole('list', { name: 'Newest first' }).getByRole('listitem').first()).toBeVisible();
  await expect(page.getByText(/^live, 0 entered/)).toBeVisible();
});

test('is found by keys', async ({ page }) => {
  await page.goto('/');
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'To the content' })).toBeFocused();
  await page.keyboard.press('Control+k');
  await page.getByRole('textbox', { name: 'Look up' }).fill('spenders');
  await expect(page.getByRole('button', { name: /high_spenders/ })).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/segments\/.*spenders/);
});

test('has a menu on phones', async ({ page }) => {
  await page.setViewportSize(PHONE);
  await page.goto('/');
  await page.getByRole('button', { name: 'Open the menu' }).click();
  await page.getByRole('link', { name: 'Settings' }).click();
  await expect(page.getByRole('heading', { name: 'Settings', level: 1 })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Settings', includeHidden: true })).not.toBeInViewport();
});
