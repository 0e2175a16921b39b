// Segments from the builder to the bin: the list, and the editor.
import type { Locator, Page } from '@playwright/test';
import { expect, expectAccessible, PHONE, test, type Cohort } from './cohort';

const purchase = (userId: string, value: number) => ({ userId, eventType: 'purchase', timestamp: Date.now(), value });
const send = (cohort: Cohort, ...events: object[]) => cohort.call('POST', '/events?topic=order_events', events);

const SPENDERS = { type: 'INDEPENDENT', windowMinutes: 5, rules: [{ eventType: 'purchase', attribute: 'sum', operator: 'GT', value: 500 }] };
const create = (cohort: Cohort, name: string, body: object = SPENDERS) => cohort.call<{ id: string; version: number }>('POST', '/segments', { name, ...body });

const editor = (page: Page) => page.getByRole('textbox', { name: 'SQL of the segment' });
const row = (page: Page, name: string) => page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) });
const noErrors = (page: Page) => page.getByRole('region', { name: 'SQL', exact: true }).getByText('No errors');

async function choose(page: Page, field: Locator, option: string) {
  await field.click();
  await page.getByRole('option', { name: option, exact: true }).click();
}

async function act(page: Page, name: string, action: 'Edit' | 'Pause' | 'Resume' | 'Delete') {
  await page.getByRole('button', { name: `Actions of ${name}`, exact: true }).click();
  await page.getByRole('menuitem', { name: action }).click();
}

test('makes High Spenders in the builder, and watches it live until it is deleted', async ({ page, cohort }) => {
  await send(cohort, purchase('early', 700), purchase('thrifty', 20));
  await page.goto('/segments');
  await page.getByRole('link', { name: 'New segment' }).first().click();
  await expect(page.getByRole('heading', { name: 'New segment' })).toBeVisible();

  // Written as rules, seen as SQL and as a sentence.
  const rule = page.getByRole('group', { name: 'Rule 1' });
  await choose(page, rule.getByLabel('Attribute').first(), 'Sum of values');
  await choose(page, rule.getByLabel('Operator').first(), 'more than');
  await rule.getByLabel('Value').fill('500');
  await expect(page.getByTestId('in-words')).toHaveText('Users with purchase values that sum to more than 500 within 5 minutes.');
  await expect(editor(page)).toContainText("TUMBLE(events, event_time, INTERVAL '5 minutes')");
  await expect(editor(page)).toContainText(/HAVING .*sum\(value\).* > 500/);
  await rule.getByLabel('Value').fill('600');
  await expect(editor(page)).toContainText('> 600');
  await expect(noErrors(page)).toBeVisible();
  await expect(page.getByRole('region', { name: 'How it runs' })).toContainText('At once');
  await expect(page.getByRole('region', { name: 'How it runs' })).toContainText('HAVING asks only for lower bounds');

  // Tried out on the events that are there.
  await page.getByRole('button', { name: 'Run preview' }).click();
  const preview = page.getByTestId('preview');
  await expect(preview.getByRole('list', { name: 'Members' })).toHaveText('early');
  await expect(preview).toContainText(/Events read\d+/);

  // It needs a name.
  await page.getByRole('button', { name: 'Activate' }).click();
  await expect(page.getByText('Give it a name.')).toBeVisible();
  await expect(page.getByLabel('Name')).toBeFocused();
  await page.getByLabel('Name').fill('High Spenders');
  await page.getByRole('button', { name: 'Activate' }).click();
  await expect(page.getByText('High Spenders is active')).toBeVisible();
  await expect(page).toHaveURL(/\/segments\/High%20Spenders$/);

  // A member comes while one looks.
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Segments' }).click();
  const spenders = row(page, 'High Spenders');
  await expect(spenders.getByRole('cell').nth(1)).toHaveText('0');
  await send(cohort, purchase('ann', 400), purchase('ann', 300));
  await expect(spenders.getByRole('cell').nth(1)).toHaveText('1', { timeout: 20_000 });

  // An edit says who would leave.
  await act(page, 'High Spenders', 'Edit');
  await page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value').fill('1000');
  await expect(editor(page)).toContainText('> 1000');
  await page.getByRole('button', { name: 'Run preview' }).click();
  await expect(preview.getByRole('list', { name: 'Would leave' })).toHaveText('ann');
  // Over the events that are kept it would have had two members, of whom one came before it was active.
  const versions = preview.getByRole('table', { name: 'Versions compared' });
  await expect(versions.getByRole('row', { name: /^Members/ })).toHaveText('Members20');
  await expect(versions.getByRole('row', { name: /^Entered/ })).toHaveText('Entered20');
  await expect(preview.getByTestId('versions-in-words')).toHaveText('0 members in both, 0 would enter, 2 would leave.');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page.getByText('High Spenders is saved as version 2')).toBeVisible();
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Segments' }).click();
  await expect(spenders.getByRole('cell').nth(1)).toHaveText('0', { timeout: 20_000 });

  await act(page, 'High Spenders', 'Pause');
  await page.getByRole('dialog').getByRole('button', { name: 'Pause' }).click();
  await expect(spenders).toContainText('Paused');
  await act(page, 'High Spenders', 'Resume');
  await expect(spenders).toContainText('Active');
  await act(page, 'High Spenders', 'Delete');
  const dialog = page.getByRole('dialog', { name: 'Delete High Spenders?' });
  await dialog.getByRole('textbox', { name: /to confirm/ }).fill('High Spenders');
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await expect(dialog).toBeHidden();
  await expect(spenders).toHaveCount(0);
});

test('shows the place of an error in the SQL', async ({ page }) => {
  await page.goto('/segments/new');
  await expect(noErrors(page)).toBeVisible();
  await page.getByLabel('Name').fill('Wrong');
  await editor(page).fill("SELECT user_id, count(*) AS value\nFROM TUMBLE(events, event_time, INTERVAL '5 minutes')\nWHERE event_typ = 'purchase'\nGROUP BY user_id, window_start, window_end\nHAVING count(*) > 2");
  const errors = page.getByRole('list', { name: 'Errors' });
  await expect(errors).toContainText('event_typ');
  await expect(page.locator('.cm-lintRange-error')).toHaveText('event_typ');
  await expect(page.getByRole('button', { name: 'Activate' })).toBeDisabled();
  await errors.getByRole('button', { name: 'line 3, column 7' }).click();
  await expect(editor(page)).toBeFocused();
  await page.keyboard.press('Control+Delete');
  await page.keyboard.type('event_type');
  await expect(noErrors(page)).toBeVisible();
  await expect(page.getByRole('button', { name: 'Activate' })).toBeEnabled();
});

test('completes streams, columns, segments and values', async ({ page, cohort }) => {
  await create(cohort, 'completed_one');
  await page.goto('/segments/new');
  await expect(noErrors(page)).toBeVisible();
  const option = (name: string) => page.getByRole('listbox', { name: 'Completions' }).getByRole('option').filter({ hasText: name });
  await editor(page).fill('');
  await editor(page).pressSequentially('SELECT user_id FROM complet');
  await expect(option('completed_one')).toBeVisible();
  await page.keyboard.press('Escape');
  await editor(page).fill('');
  await editor(page).pressSequentially('SELECT * FROM install');
  await expect(option('install_events')).toBeVisible();
  await page.keyboard.press('Escape');
  await editor(page).fill('');
  await editor(page).pressSequentially("SELECT user_id FROM events WHERE event_type = 'pur");
  await expect(option('purchase')).toBeVisible();
  await cohort.call('DELETE', '/segments/completed_one');
});

test('follows from SQL to rules, as far as rules can say it', async ({ page }) => {
  await page.goto('/segments/new');
  await expect(noErrors(page)).toBeVisible();
  const query = (having: string) =>
    `SELECT user_id, count(*) AS value\nFROM TUMBLE(events, event_time, INTERVAL '10 minutes')\nWHERE event_type = 'view'\nGROUP BY user_id, window_start, window_end\nHAVING ${having}`;
  await editor(page).fill(query('count(*) >= 7'));
  const rule = page.getByRole('group', { name: 'Rule 1' });
  await expect(rule.getByLabel('Value')).toHaveValue('7');
  await expect(rule.getByLabel('Event type').first()).toHaveValue('view');
  await expect(page.getByTestId('in-words')).toHaveText('Users with at least 7 view events within 10 minutes.');
  await editor(page).fill(query('max(value) - min(value) > 3'));
  await expect(page.getByText('Only SQL can say this')).toBeVisible();
  await page.getByRole('button', { name: 'Start over with rules' }).click();
  await expect(editor(page)).toContainText('HAVING count(*) >= 7');
});

test('combines segments, and does not delete what others read', async ({ page, cohort }) => {
  await create(cohort, 'Big Spenders');
  await create(cohort, 'viewers', { ...SPENDERS, rules: [{ eventType: 'view', attribute: 'count', operator: 'GTE', value: 2 }] });
  await create(cohort, 'hourly', { ...SPENDERS, windowMinutes: 60 });
  await page.goto('/segments/new');
  await page.getByLabel('Name').fill('quiet spenders');
  await page.getByText('Segments', { exact: true }).last().click();
  await expect(page.getByText('Pick a segment.')).toBeVisible();
  await choose(page, page.getByRole('group', { name: 'Segment 1' }).getByLabel('Segment', { exact: true }).first(), 'Big Spenders');
  await page.getByRole('button', { name: 'Add a segment' }).click();
  const second = page.getByRole('group', { name: 'Segment 2' });
  await second.getByLabel('Segment', { exact: true }).first().click();
  await expect(page.getByRole('option', { name: 'hourly (window of 1 hour)' })).toBeDisabled();
  await page.getByRole('option', { name: 'viewers', exact: true }).click();
  await choose(page, second.getByLabel('How it combines').first(), 'but not in');
  await expect(page.getByTestId('in-words')).toHaveText('"Big Spenders" AND NOT viewers');
  await expect(page.getByRole('region', { name: 'How it runs' })).toContainText('At the close');
  await expect(noErrors(page)).toBeVisible();
  await page.getByRole('button', { name: 'Activate' }).click();
  await expect(page.getByText('quiet spenders is active')).toBeVisible();

  await page.goto('/segments');
  await expect(row(page, 'quiet spenders')).toContainText('Combination');
  await act(page, 'viewers', 'Delete');
  await expect(page.getByRole('dialog', { name: 'viewers is in use' }).getByRole('link', { name: 'quiet spenders' })).toBeVisible();
  await page.keyboard.press('Escape');
  for (const name of ['quiet spenders', 'Big Spenders', 'viewers', 'hourly']) await cohort.call('DELETE', `/segments/${encodeURIComponent(name)}`);
});

test('is found by name, kind and status', async ({ page, cohort }) => {
  await create(cohort, 'alpha');
  await create(cohort, 'beta', { sql: "SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end" });
  await cohort.call('PATCH', '/segments/beta/status', { active: false });
  await page.goto('/segments');
  await expect(row(page, 'alpha')).toContainText('Rules');
  await expect(row(page, 'beta')).toContainText('Paused');
  await page.getByLabel('Search segments').fill('alp');
  await expect(row(page, 'beta')).toHaveCount(0);
  await expect(page).toHaveURL(/q=alp/);
  await page.getByLabel('Search segments').fill('nothing like it');
  await expect(page.getByText('No segment is like that')).toBeVisible();
  await page.getByRole('link', { name: 'All segments' }).click();
  await expect(row(page, 'alpha')).toBeVisible();
  await expect(page.getByLabel('Search segments')).toHaveValue('');
  await choose(page, page.getByLabel('Status').first(), 'Paused');
  await expect(row(page, 'alpha')).toHaveCount(0);
  await expect(row(page, 'beta')).toBeVisible();
  for (const name of ['alpha', 'beta']) await cohort.call('DELETE', `/segments/${name}`);
});

test('does not write over what somebody else saved', async ({ page, cohort, errors }) => {
  errors.allow(/412/);
  await create(cohort, 'contested');
  await page.goto('/segments/contested/edit');
  const value = page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value');
  await value.fill('700');
  await expect(editor(page)).toContainText('> 700');
  await cohort.call('PUT', '/segments/contested', { ...SPENDERS, rules: [{ ...SPENDERS.rules[0], value: 900 }] });
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Somebody else changed this segment' });
  await expect(dialog.locator('ins')).toHaveText('Rule: purchase values that sum to more than 900 within 5 minutes', { timeout: 15_000 });
  await expect(dialog.locator('del')).toContainText('more than 500');
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Take theirs' }).click();
  await expect(value).toHaveValue('900');
  await value.fill('800');
  await expect(editor(page)).toContainText('> 800');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page.getByText('contested is saved as version 3')).toBeVisible();
  await cohort.call('DELETE', '/segments/contested');
});

test('says that a name is taken', async ({ page, cohort, errors }) => {
  errors.allow(/409/);
  await create(cohort, 'taken');
  await page.goto('/segments/new');
  await page.getByLabel('Name').fill('taken');
  await expect(noErrors(page)).toBeVisible();
  await page.getByRole('button', { name: 'Save as paused' }).click();
  await expect(page.getByText('There is another segment of this name.')).toBeVisible();
  await page.getByLabel('Name').fill('free');
  await page.getByRole('button', { name: 'Save as paused' }).click();
  await expect(page.getByText('free is saved, and paused')).toBeVisible();
  for (const name of ['taken', 'free']) await cohort.call('DELETE', `/segments/${name}`);
});

test('asks before what is not saved is left', async ({ page, cohort }) => {
  await create(cohort, 'kept');
  await page.goto('/segments/kept/edit');
  await expect(page.getByRole('button', { name: 'Save', exact: true })).toBeDisabled();
  await page.getByLabel('Description').fill('changed');
  await page.getByRole('link', { name: 'Users', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Leave without saving?' });
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByLabel('Description')).toHaveValue('changed');
  await page.getByRole('link', { name: 'Users', exact: true }).click();
  await dialog.getByRole('button', { name: 'Leave' }).click();
  await expect(page).toHaveURL(/\/users$/);
  await cohort.call('DELETE', '/segments/kept');
});

test('shows what versions changed, and restores one', async ({ page, cohort }) => {
  await create(cohort, 'aged');
  await cohort.call('PUT', '/segments/aged', { ...SPENDERS, rules: [{ ...SPENDERS.rules[0], value: 50 }] });
  await page.goto('/segments/aged/edit');
  const versions = page.getByRole('list', { name: 'Versions, newest first' });
  await expect(versions.getByRole('listitem')).toHaveCount(2);
  await expect(versions).toContainText('changed by local');
  await page.getByRole('button', { name: 'Changes of version 2' }).click();
  const diff = page.getByRole('region', { name: 'Version 2 against version 1' });
  await expect(diff.locator('del')).toContainText('more than 500');
  await expect(diff.locator('ins')).toContainText('more than 50 within');
  await page.getByRole('button', { name: 'Restore version 1' }).click();
  await expect(page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value')).toHaveValue('500');
  await expect(editor(page)).toContainText('> 500');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page.getByText('aged is saved as version 3')).toBeVisible();
  await cohort.call('DELETE', '/segments/aged');
});

test('opens a version by its link, and says that saving makes a new one', async ({ page, cohort }) => {
  await create(cohort, 'layered');
  for (const value of [50, 70]) await cohort.call('PUT', '/segments/layered', { ...SPENDERS, rules: [{ ...SPENDERS.rules[0], value }] });
  await page.goto('/segments/layered?tab=versions');
  await page.getByRole('link', { name: 'Version 1 in the editor' }).click();
  await expect(page).toHaveURL(/\/segments\/layered\/edit\?version=1$/);
  const value = page.getByRole('group', { name: 'Rule 1' }).getByLabel('Value');
  await expect(value).toHaveValue('500');
  await expect(editor(page)).toContainText('> 500');
  const note = page.getByRole('alert').filter({ hasText: 'This is version 1' });
  await expect(note).toContainText('Version 3 is the newest. Saving what is here makes version 4; the others stay as they are.');
  await note.getByRole('link', { name: 'Version 3' }).click();
  await expect(value).toHaveValue('70');
  await expect(note).toBeHidden();
  await expect(page.getByRole('button', { name: 'Save', exact: true })).toBeDisabled();

  await page.goto('/segments/layered/edit?version=9');
  await expect(page.getByText('There is no version 9')).toBeVisible();
  await expect(value).toHaveValue('70');
  await page.goto('/segments/layered/edit?version=2');
  await expect(value).toHaveValue('50');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page.getByText('layered is saved as version 4')).toBeVisible();
  await cohort.call('DELETE', '/segments/layered');
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page, cohort }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await send(cohort, purchase('ann', 900));
    await create(cohort, 'seen');
    await cohort.call('PUT', '/segments/seen', { ...SPENDERS, windowMinutes: 10 });
    await page.goto('/segments');
    await expect(row(page, 'seen')).toBeVisible();
    await expectAccessible(page);
    await page.goto('/segments/seen/edit');
    await expect(noErrors(page)).toBeVisible();
    await page.getByRole('button', { name: 'Run preview' }).click();
    await expect(page.getByTestId('preview')).toBeVisible();
    await page.getByRole('button', { name: 'Changes of version 2' }).click();
    await expectAccessible(page);
    await page.setViewportSize(PHONE);
    await expectAccessible(page);
    await cohort.call('DELETE', '/segments/seen');
  });
}
