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

test('remembers the colours', async ({ page }) => {
  await page.goto('/settings');
  await page.getByRole('button', { name: 'Light or dark' }).click();
  await page.getByRole('menuitem', { name: 'Dark' }).click();
  await page.reload();
  await expect(page.locator('html')).toHaveAttribute('data-mantine-color-scheme', 'dark');
});
