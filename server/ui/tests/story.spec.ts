// What a marketer does, from the first thought of a segment to its end.
import type { Page } from '@playwright/test';
import { expect, test } from './cohort';

const editor = (page: Page) => page.getByRole('textbox', { name: 'SQL of the segment' });
const noErrors = (page: Page) => page.getByRole('region', { name: 'SQL', exact: true }).getByText('No errors');
const dialog = (page: Page) => page.getByRole('dialog');

const QUERY = `SELECT user_id, sum(value) AS value
FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
WHERE event_type = 'purchase'
GROUP BY user_id, window_start, window_end
HAVING sum(value) >= 500`;

async function choose(page: Page, field: string, option: string) {
  await page.getByRole('group', { name: 'Rule 1' }).getByLabel(field).first().click();
  await page.getByRole('option', { name: option, exact: true }).click();
}

/** Sends purchases on the generator's page, and leaves it. */
async function generate(page: Page, count: number, prefix: string) {
  await page.goto('/events/generate');
  await page.getByRole('radio', { name: 'Purchases, order_events' }).click();
  await page.getByRole('textbox', { name: 'Events', exact: true }).fill(String(count));
  await page.getByLabel('User prefix').fill(prefix);
  await page.getByRole('radio', { name: /Within the last second/ }).check();
  await page.getByRole('button', { name: /^Send / }).click();
  await expect(page.getByText(`${count.toLocaleString('en')} events were taken in`)).toBeVisible();
}

test('High Spenders, from the builder to the bin', async ({ page, context, cohort, errors }) => {
  test.setTimeout(120_000);
  errors.allow(/Failed to load resource/);

  await test.step('written as rules', async () => {
    await page.goto('/');
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Segments' }).click();
    await page.getByRole('link', { name: 'New segment' }).first().click();
    await page.getByLabel('Name').fill('High Spenders');
    await page.getByLabel('Description').fill('Spend at least 500 in five minutes');
    await choose(page, 'Attribute', 'Sum of values');
    await choose(page, 'Operator', 'at least');
    await page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value').fill('500');
    await page.getByLabel('Window', { exact: true }).fill('5');
    await expect(page.getByTestId('in-words')).toHaveText('Users with purchase values that sum to at least 500 within 5 minutes.');
    await expect(editor(page)).toContainText("TUMBLE(events, event_time, INTERVAL '5 minutes')");
    await expect(editor(page)).toContainText(/HAVING .*sum\(value\).* >= 500/);
    await expect(noErrors(page)).toBeVisible();
  });

  await test.step('a wrong SQL has its place shown', async () => {
    await editor(page).fill(QUERY.replace('HAVING sum', 'HAVING summ'));
    await expect(page.getByRole('list', { name: 'Errors' }).getByRole('button', { name: /^line 5, column \d+$/ })).toBeVisible();
    await expect(page.locator('.cm-lintRange-error')).toContainText('summ');
    await expect(page.getByRole('button', { name: 'Activate' })).toBeDisabled();
    await editor(page).fill(QUERY);
    await expect(noErrors(page)).toBeVisible();
    await expect(page.getByTestId('in-words')).toContainText('at least 500 within 5 minutes');
  });

  const other = await context.newPage();
  await test.step('tried out on events that are there', async () => {
    await generate(other, 300, 'early_');
    await page.getByRole('button', { name: 'Run preview' }).click();
    const preview = page.getByTestId('preview');
    await expect(preview.getByRole('list', { name: 'Members' })).toContainText('early_');
  });

  const figures = page.getByRole('region', { name: 'Figures' });
  const feed = page.getByRole('list', { name: 'Newest first' });
  let member = '';
  await test.step('activated, and joined by members while one looks', async () => {
    await page.getByRole('button', { name: 'Activate' }).click();
    await expect(page.getByText('High Spenders is active')).toBeVisible();
    await expect(page).toHaveURL(/\/segments\/High%20Spenders$/);
    await expect(page.getByText(/^live, /)).toBeVisible();
    await page.evaluate(() => ((window as { here?: boolean }).here = true));
    await generate(other, 1_000, 'shopper_');
    await expect(feed.getByRole('listitem').filter({ hasText: 'shopper_' }).first()).toBeVisible();
    await expect(figures).toContainText(/Members\s*1\d\d/);
    expect(await page.evaluate(() => (window as { here?: boolean }).here), 'the page was not loaded again').toBe(true);
    member = (await feed.getByRole('link', { name: /^shopper_/ }).first().textContent()) ?? '';
  });

  await test.step('which says why', async () => {
    await feed.getByRole('link', { name: member, exact: true }).first().click();
    await page.getByRole('button', { name: `Why ${member} is in High Spenders` }).click();
    const why = page.getByRole('region', { name: 'Why' });
    await expect(why.getByRole('heading', { name: /^In High Spenders/ })).toBeVisible();
    await expect(why.getByTestId('because')).toHaveText(/^Sum of value is [\d,.]+, and it takes at least 500: [\d,.]+ over\.$/);
    await page.goto('/segments/High%20Spenders');
  });

  await test.step('through a restart of the service', async () => {
    const size = /Members\s*1\d\d/;
    await expect(figures).toContainText(size);
    await cohort.stop();
    await expect(page.getByTestId('connection')).toHaveText('Not connected');
    await expect(page.getByText('Connecting', { exact: true })).toBeVisible();
    await expect(page.getByText('Cohort does not answer.')).toBeVisible();
    await cohort.start();
    await expect(page.getByText('Cohort does not answer.')).toBeHidden();
    await expect(page.getByText(/^live, /)).toBeVisible();
    await expect(figures).toContainText(size);
  });

  await test.step('edited', async () => {
    await page.getByRole('link', { name: 'Edit' }).click();
    await page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value').fill('100000');
    await expect(editor(page)).toContainText('100000');
    await page.getByRole('button', { name: 'Run preview' }).click();
    await expect(page.getByTestId('preview').getByRole('list', { name: 'Would leave' })).toBeVisible();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await expect(page.getByText('High Spenders is saved as version 2')).toBeVisible();
    await expect(figures).toContainText(/Members\s*0/);
  });

  await test.step('paused and deleted', async () => {
    await page.getByRole('button', { name: 'Pause' }).click();
    await dialog(page).getByRole('button', { name: 'Pause segment' }).click();
    await expect(page.getByText('This segment is paused')).toBeVisible();
    await page.getByRole('button', { name: 'Delete' }).click();
    await dialog(page).getByRole('textbox', { name: /to confirm/ }).fill('High Spenders');
    await dialog(page).getByRole('button', { name: 'Delete segment' }).click();
    await expect(page.getByText('High Spenders is deleted')).toBeVisible();
    await expect(page.getByText('There are no segments yet')).toBeVisible();
  });
});
