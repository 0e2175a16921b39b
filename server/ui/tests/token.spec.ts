// A service that wants tokens.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, expectAccessible, test } from './cohort';

const folder = mkdtempSync(path.join(tmpdir(), 'cohort-ui-token-'));
writeFileSync(path.join(folder, 'secret'), 'open-sesame');
writeFileSync(path.join(folder, 'cohort.toml'), `[server]\ntokens = [{ name = "ann", role = "read", secret_file = ${JSON.stringify(path.join(folder, 'secret'))} }]\n`);

test.use({ args: ['serve', '--config', path.join(folder, 'cohort.toml')] });

test('asks for a token, and sends it', async ({ page, errors }) => {
  errors.allow(/Failed to load resource.*401/);
  await page.goto('/');
  const dialog = page.getByRole('dialog', { name: 'Cohort asks for a token' });
  await expect(dialog).toBeVisible();
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Not now' }).click();
  await expect(page.getByRole('link', { name: 'Token needed' })).toBeVisible();
  await page.waitForTimeout(2_500);
  await expect(dialog).toBeHidden();
  await page.reload();
  await dialog.getByLabel('Token', { exact: true }).fill('wrong');
  await dialog.getByRole('button', { name: 'Use this token' }).click();
  await expect(dialog.getByText('the token is not known')).toBeVisible();
  await dialog.getByLabel('Token', { exact: true }).fill('open-sesame');
  await dialog.getByRole('button', { name: 'Use this token' }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByText(/0 entered, 0 exited/)).toBeVisible();
  await expect(page.getByText('There are no segments yet')).toBeVisible();
  await page.reload();
  await expect(page.getByText('There are no segments yet')).toBeVisible();
  await page.goto('/settings');
  await expect(page.getByText('A token is kept until this tab is closed.')).toBeVisible();
});
