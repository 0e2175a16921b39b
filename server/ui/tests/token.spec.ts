// A service that wants tokens.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, expectAccessible, test } from './cohort';

const folder = mkdtempSync(path.join(tmpdir(), 'cohort-ui-token-'));
const token = (name: string, role: string, secret: string) => {
  const file = path.join(folder, name);
  writeFileSync(file, secret);
  return `{ name = "${name}", role = "${role}", secret_file = ${JSON.stringify(file)} }`;
};
writeFileSync(path.join(folder, 'cohort.toml'), `[server]\ntokens = [${token('ann', 'read', 'open-sesame')}, ${token('ops', 'admin', 'open-all')}]\n`);

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
  await expect(page.getByText(/0 entered and 0 left/)).toBeVisible();
  await expect(page.getByText('There are no segments yet')).toBeVisible();
  await page.reload();
  await expect(page.getByText('There are no segments yet')).toBeVisible();
  await page.goto('/settings');
  await expect(page.getByText('A token is kept until this tab is closed.')).toBeVisible();
});

test('says who one is, and takes another token', async ({ page, errors }) => {
  errors.allow(/Failed to load resource.*40[13]/);
  await page.goto('/settings');
  await page.getByRole('dialog').getByRole('button', { name: 'Not now' }).click();
  await expect(page.getByText('This browser sends no token.')).toBeVisible();
  await expect(page.getByText('Without a token that it knows, this service shows nothing.')).toBeVisible();

  const panel = page.getByRole('region', { name: 'Token' });
  const use = async (secret: string) => {
    await panel.getByLabel('Token', { exact: true }).fill(secret);
    await panel.getByRole('button', { name: 'Use this token' }).click();
  };
  await use('open-sesame');
  await expect(page.getByTestId('me')).toHaveText('To the service you are ann, with the role read: you may look at everything, and change nothing.');
  await expect(page.getByRole('region', { name: 'Service' })).toContainText('0 of 0 run');
  const configuration = page.getByRole('table', { name: 'Configuration' });
  await expect(configuration).toContainText('server.listen');
  await expect(configuration.getByRole('row').filter({ hasText: 'server.tokens' })).toContainText('"name":"ann"');
  await expect(configuration).not.toContainText(folder);
  await expectAccessible(page);

  await page.goto('/segments/new');
  await expect(page.getByText('Your token may only read, so nothing can be saved.')).toBeVisible();
  await page.goto('/events/generate');
  await page.getByRole('button', { name: /^Send / }).click();
  await expect(page.getByRole('dialog', { name: 'This token may not do that' })).toBeVisible();
  await page.getByRole('button', { name: 'Not now' }).click();

  await page.goto('/settings');
  await panel.getByRole('switch').check();
  await use('open-all');
  await expect(page.getByTestId('me')).toHaveText('To the service you are ops, with the role admin: you may do everything, and see who changed what.');
  await expect(page.getByText('A token is remembered in this browser.')).toBeVisible();
  await panel.getByRole('button', { name: 'Forget it' }).click();
  await expect(page.getByRole('dialog', { name: 'Cohort asks for a token' })).toBeVisible();
});
