import { DEMO, expect, expectAccessible, test } from './cohort';

test.use({ args: DEMO });

for (const colorScheme of ['light', 'dark'] as const) {
  test(`shows the service and is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme });
    await page.goto('/settings');
    await expect(page.getByRole('region', { name: 'Service' })).toContainText('7 of 7 run');
    await expect(page.getByRole('table', { name: 'Partitions' }).getByRole('row')).toHaveCount(3);
    await page.getByRole('button', { name: 'Partition', exact: true }).click();
    await expect(page.getByRole('columnheader', { name: 'Partition' })).toHaveAttribute('aria-sort', 'descending');
    await expectAccessible(page);
  });
}

test('shows what is in force, and who one is', async ({ page }) => {
  await page.goto('/settings');
  const service = page.getByRole('region', { name: 'Service' });
  for (const fact of [/Catalogsqlite, revision \d+/, /Sourceembedded, 3 topics/, /Sinkembedded/, /From event to result\d+ ms/, /Dead letters\d+ since the start/]) await expect(service).toContainText(fact);
  await expect(page.getByTestId('me')).toHaveText('This service asks for no token: everybody may do everything.');

  const configuration = page.getByRole('table', { name: 'Configuration' });
  const value = (key: string) => configuration.getByRole('row').filter({ has: page.getByRole('rowheader', { name: key, exact: true }) }).getByRole('cell');
  await expect(value('catalog.url')).toHaveText(/^sqlite:.*catalog\.db$/);
  await expect(value('server.listen')).toHaveText(/^127\.0\.0\.1:\d+$/);
  await page.getByRole('textbox', { name: 'Search keys' }).fill('TIME.');
  await expect(value('time.out_of_orderness')).toHaveText(/^\d+m?s$/);
  await expect(value('catalog.url')).toHaveCount(0);
});

test('remembers the colours', async ({ page }) => {
  await page.goto('/settings');
  await page.getByRole('button', { name: 'Light or dark' }).click();
  await page.getByRole('menuitem', { name: 'Dark' }).click();
  await page.reload();
  await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', 'dark');
});
