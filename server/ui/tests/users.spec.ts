import type { Page } from '@playwright/test';
import { expect, expectAccessible, expectToFit, PHONE, test, type Cohort } from './cohort';

/** Rules as marketers write them; windows are long, so that none closes during a test. */
async function segments(cohort: Cohort) {
  const rule = (name: string, eventType: string, attribute: string, operator: string, value: number) =>
    cohort.call('POST', '/segments', { name, type: 'INDEPENDENT', windowMinutes: 1440, rules: [{ eventType, attribute, operator, value }] });
  await rule('High Spenders', 'orders', 'sum', 'GT', 500);
  await rule('Keen Viewers', 'views', 'count', 'GTE', 8);
  await cohort.call('POST', '/segments', {
    name: 'Big Baskets',
    type: 'INDEPENDENT',
    windowMinutes: 1440,
    rules: [
      { eventType: 'orders', attribute: 'sum', operator: 'GT', value: 300 },
      { eventType: 'orders', attribute: 'count', operator: 'LTE', value: 3 },
    ],
  });
  await cohort.call('POST', '/segments', { name: 'Engaged Spenders', type: 'DERIVED', windowMinutes: 1440, logicalExpression: '"High Spenders" AND "Keen Viewers"' });
}

const events = (cohort: Cohort, userId: string, eventType: string, values: number[]) =>
  cohort.call(
    'POST',
    '/events',
    values.map((value, i) => ({ userId, eventType, timestamp: Date.now() - values.length + i, value, metadata: { category: 'books' } })),
  );

const choose = (page: Page, segment: string) => page.getByRole('navigation', { name: 'Segments' }).getByRole('button', { name: segment }).click();

test.beforeAll(async ({ cohort }) => {
  await segments(cohort);
});

test('follows a user from purchases to a membership, and says why', async ({ page, cohort }) => {
  await events(cohort, 'ann', 'purchase', [200, 150]);
  await page.goto('/users/ann');
  await expect(page).toHaveTitle('User ann · Cohort');
  const why = page.getByRole('region', { name: 'Why' });

  // Not in yet, and by how much.
  await choose(page, 'High Spenders');
  await expect(page).toHaveURL(/segment=High/);
  await expect(why.getByRole('heading', { name: 'Not in High Spenders' })).toBeVisible();
  await expect(why.getByTestId('because')).toHaveText('Sum of value is 350, and it takes more than 500: 150 short.');
  const meter = why.getByRole('meter', { name: 'sum of value' });
  await expect(meter).toHaveAttribute('aria-valuenow', '350');
  await expect(meter).toHaveAttribute('aria-valuetext', '350; it takes more than 500; 150 short');
  await expect(why.getByRole('region', { name: 'Events of High Spenders' }).getByRole('row').filter({ hasText: 'purchase' })).toHaveCount(2);

  // One more purchase brings the user in, without a reload.
  const memberships = page.getByRole('region', { name: 'Memberships' }).first();
  await expect(memberships.getByText('In no segment')).toBeVisible();
  await events(cohort, 'ann', 'purchase', [250]);
  await expect(memberships.getByRole('link', { name: 'High Spenders' })).toBeVisible();
  await expect(memberships.getByRole('row', { name: /High Spenders/ })).toContainText('600');
  await expect(why.getByRole('heading', { name: /^In High Spenders/ })).toBeVisible();
  await expect(why.getByTestId('because')).toHaveText('Sum of value is 600, and it takes more than 500: 100 over.');
  await expect(page.getByText('In 1 of 4 running segments')).toBeVisible();

  // The timeline has it, drawn and as a list.
  const timeline = page.getByRole('region', { name: 'Timeline' });
  await expect(timeline.getByRole('row').filter({ hasText: 'entered' })).toContainText('High Spenders');
  await expect(timeline.getByRole('img', { name: /^High Spenders: .* to now$/ })).toBeVisible();
  const recent = page.getByRole('region', { name: 'Recent events' }).first();
  await expect(recent.getByRole('row').filter({ hasText: 'purchase' })).toHaveCount(3);
  await expect(recent.getByRole('row').filter({ hasText: '250' })).toContainText('books');

  // Another one that the user is not in.
  await choose(page, 'Keen Viewers');
  await expect(why.getByTestId('because')).toHaveText('None of this user’s events counts in a window that is open.');
  await expect(why.getByRole('meter')).toHaveAttribute('aria-valuetext', '0; it takes at least 8; 8 more needed');
  await events(cohort, 'ann', 'view', [10, 20, 30]);
  await expect(why.getByTestId('because')).toHaveText('Number of events is 3, and it takes at least 8: 5 more needed.');
});

test('says of several rules and of other segments what holds', async ({ page, cohort }) => {
  await events(cohort, 'bob', 'purchase', [100, 100, 100, 100, 200]);
  await page.goto('/users/bob?segment=Big%20Baskets');
  const why = page.getByRole('region', { name: 'Why' });
  await expect(why.getByRole('heading', { name: 'Not in Big Baskets' })).toBeVisible();
  await expect(why.getByRole('meter')).toHaveCount(2);
  await expect(why.getByRole('meter', { name: /^number of events/ })).toHaveAttribute('aria-valuetext', '5; it takes at most 3; 2 too many');
  await expect(why.getByRole('meter', { name: /^sum of value/ })).toHaveAttribute('aria-valuetext', '600; it takes more than 300; 300 over');

  await choose(page, 'Engaged Spenders');
  await expect(why.getByTestId('because')).toHaveText('Has to be in Keen Viewers, and is not.');
  const inputs = why.getByRole('list', { name: 'What it reads' });
  await expect(inputs.getByRole('listitem').filter({ hasText: 'High Spenders' })).toContainText('is in');
  await expect(inputs.getByRole('listitem').filter({ hasText: 'Keen Viewers' })).toContainText('is not in');
  await inputs.getByRole('button', { name: 'Show its events' }).first().click();
  await expect(inputs.getByRole('row').filter({ hasText: 'purchase' })).toHaveCount(5);

  await events(cohort, 'bob', 'view', [1, 1, 1, 1, 1, 1, 1, 1]);
  await expect(why.getByTestId('because')).toHaveText('In High Spenders and in Keen Viewers.');
  await expect(page.getByRole('group', { name: 'In', exact: true }).getByRole('button')).toHaveText(['Engaged Spenders', 'High Spenders', 'Keen Viewers']);
});

test('is found by the beginning of an id, and by keys alone', async ({ page, cohort }) => {
  await events(cohort, 'carla-1', 'purchase', [600]);
  await events(cohort, 'carla-2', 'purchase', [700]);
  await page.goto('/users');
  await expect(page.getByRole('heading', { name: 'Users', level: 1 })).toBeVisible();
  const box = page.getByRole('combobox', { name: 'User id' });
  await expect(async () => {
    await box.fill('');
    await box.fill('carla');
    await expect(page.getByRole('option')).toHaveCount(2, { timeout: 1_000 });
  }).toPass();
  await box.press('ArrowDown');
  await box.press('ArrowDown');
  await box.press('Enter');
  await expect(page).toHaveURL(/\/users\/carla-2$/);
  await expect(page.getByRole('region', { name: 'Memberships' }).first().getByRole('link', { name: 'High Spenders' })).toBeVisible();

  // From there to another one, who is in nothing.
  await page.getByRole('combobox', { name: 'User id' }).fill('dave');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/users\/dave$/);
});

test('says of users who are not known what it would take', async ({ page }) => {
  await page.goto('/users/no%20such%2Fuser?segment=High%20Spenders');
  await expect(page.getByRole('heading', { level: 1 })).toContainText('no such/user');
  await expect(page.getByText('Nothing is known of no such/user')).toBeVisible();
  await expect(page.getByRole('link', { name: 'Generate events' })).toBeVisible();
  await expect(page.getByRole('meter')).toHaveAttribute('aria-valuetext', '0; it takes more than 500; 500 short');
});

test('says that an explained segment is not there', async ({ page }) => {
  await page.goto('/users/ann?segment=gone');
  await expect(page.getByText('There is no segment gone')).toBeVisible();
  await choose(page, 'Keen Viewers');
  await expect(page.getByText('There is no segment gone')).toBeHidden();
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page, cohort }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await events(cohort, 'eve', 'purchase', [300, 300]);
    await page.goto('/users/eve?segment=Engaged%20Spenders');
    await expect(page.getByRole('list', { name: 'What it reads' })).toBeVisible();
    await expect(page.getByRole('region', { name: 'Recent events' }).first().getByRole('row').nth(1)).toBeVisible();
    await expectAccessible(page);
    await choose(page, 'Big Baskets');
    await expect(page.getByRole('meter')).toHaveCount(2);
    await expectAccessible(page);
    await page.goto('/users');
    await expect(page.getByRole('heading', { name: 'Users', level: 1 })).toBeVisible();
    await expectAccessible(page);
  });
}

test('fits a phone', async ({ page, cohort }) => {
  await page.setViewportSize(PHONE);
  await events(cohort, 'finn', 'purchase', [600]);
  await page.goto('/users/finn');
  await expect(page.getByRole('meter').first()).toBeVisible();
  await expectToFit(page);
});
