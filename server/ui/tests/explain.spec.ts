// How segments run: the demo's, a statement, and a thousand segments.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Cohort, DEMO, expect, expectAccessible, expectToFit, PHONE, test } from './cohort';

test.use({ args: DEMO });

test('shows what runs, live, with what is shared and the details of a node', async ({ page }) => {
  await page.goto('/explain');
  await expect(page).toHaveTitle('Explain · Cohort');
  const numbers = page.getByRole('list', { name: 'What runs, in numbers' });
  await expect(numbers).toContainText('7 segments');
  await expect(numbers).toContainText('5 filters');
  await expect(numbers).toContainText(/[1-9]\d*\/s read/);
  await expect(numbers).toContainText(/% of a core/);

  // Both derived segments and the segment itself use this aggregate.
  const shared = page.getByRole('group', { name: 'Aggregate by user_id, HOP 1 minute by 10 seconds' });
  await expect(shared).toContainText('shared by 3');
  await expect(shared).toContainText(/\d\/s/);
  await shared.click();
  const details = page.getByRole('region', { name: 'Aggregate' });
  await expect(details).toContainText('Keeps a number per slot');
  await expect(details).toContainText(/Rows a second\s*[1-9]\d*\/s/);
  await expect(details).toContainText(/Time a row\s*[\d.]+ (ns|µs|ms)/);
  await expect(details.getByText('1 slot')).toBeVisible();
  await expect(details.getByRole('list', { name: 'Used by' }).getByRole('listitem')).toHaveText(['frequent_viewers', 'engaged_spenders', 'spenders_who_do_not_look']);

  await details.getByRole('button', { name: 'engaged_spenders' }).click();
  const segment = page.getByRole('region', { name: 'Derived segment' });
  await expect(segment).toContainText('high_spenders AND frequent_viewers');
  await expect(segment.getByRole('link', { name: 'engaged_spenders' })).toHaveAttribute('href', '/segments/engaged_spenders');
  await segment.getByRole('button', { name: 'Close the details' }).click();
  await expect(segment).toBeHidden();
});

test('dims all but the way of a segment, and keeps that in the address', async ({ page }) => {
  await page.goto('/explain');
  const box = (name: string) => page.getByRole('group', { name }).locator('[data-kind]');
  await expect(box('Segment long_visits')).not.toHaveAttribute('data-faint');
  await page.getByRole('combobox', { name: 'Show the way of one segment' }).fill('high_sp');
  await page.getByRole('option', { name: 'high_spenders' }).click();
  await expect(page.getByText('4 nodes of 18 are on its way')).toBeVisible();
  await expect(box('Segment long_visits')).toHaveAttribute('data-faint');
  await expect(box('Filter event_type = purchase')).not.toHaveAttribute('data-faint');
  await expect(page.getByLabel('The plan as text')).not.toContainText('long_visits');
  await page.reload();
  await expect(box('Segment long_visits')).toHaveAttribute('data-faint');
  await page.getByRole('button', { name: 'Show all segments' }).click();
  await expect(box('Segment long_visits')).not.toHaveAttribute('data-faint');
});

test('selects nodes by keys', async ({ page }) => {
  await page.goto('/explain');
  await page.getByRole('group', { name: 'Filter event_type = view' }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('region', { name: 'Filter' })).toContainText('Lets through the events');
});

test('says that a segment does not run', async ({ page }) => {
  await page.goto('/explain?segment=nothing_like_it');
  await expect(page.getByText('nothing_like_it does not run')).toBeVisible();
  await page.getByRole('alert').getByRole('button', { name: 'Show all segments' }).click();
  await expect(page.getByText('nothing_like_it does not run')).toBeHidden();
});

test('sorts nodes by their time in a table', async ({ page }) => {
  await page.goto('/explain');
  await page.getByRole('radiogroup', { name: 'Show as' }).getByText('Table').click();
  const table = page.getByRole('table', { name: 'Nodes of the plan' });
  await expect(table.getByRole('row')).toHaveCount(19);
  await expect(table.getByRole('columnheader', { name: 'Time so far' })).toHaveAttribute('aria-sort', 'descending');
  await table.getByRole('button', { name: 'Segments' }).click();
  await expect(table.getByRole('row').nth(1)).toContainText('Scan');
  await table.getByRole('row').nth(1).getByRole('button').click();
  await expect(page.getByRole('region', { name: 'Scan' })).toContainText('columns');
});

test('has every form as text, to be copied', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto('/explain');
  const text = page.getByLabel('The plan as text');
  const forms = page.getByRole('radiogroup', { name: 'Form of the text' });
  await expect(text).toContainText('├─ Filter:');
  await forms.getByText('Indent').click();
  await expect(text).toContainText('\n  Filter: ');
  await expect(text).not.toContainText('├─');
  await forms.getByText('Graphviz').click();
  await expect(text).toContainText('digraph cohort {');
  await forms.getByText('JSON').click();
  await expect(text).toContainText('"nodes": [');
  await page.getByRole('button', { name: 'Copy the plan' }).click();
  await expect(page.getByRole('button', { name: 'Copied' })).toBeVisible();
  const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText())) as { nodes: unknown[] };
  expect(copied.nodes).toHaveLength(18);
});

test('explains a statement, and says where it is wrong', async ({ page, errors }) => {
  errors.allow(/Failed to load resource.*400/);
  await page.goto('/explain');
  await page.getByRole('radiogroup', { name: 'Explain' }).getByText('A statement').click();
  await page.getByRole('button', { name: 'Explain', exact: true }).click();
  await expect(page.getByRole('group', { name: 'Segment query' })).toContainText('having sum(value) > 500');
  // It was run over the events that are kept.
  await expect(page.getByRole('group', { name: 'Scan events' })).toContainText(/[1-9]\d* rows/);
  await expect(page.getByLabel('The logical plan', { exact: true })).toContainText('Aggregate: groupBy');
  await expect(page.getByLabel('The plan as text')).toContainText('Segment: query');

  const editor = page.getByRole('textbox', { name: 'Statement to explain' });
  await editor.press('Control+a');
  await page.keyboard.insertText('SELECT user_id FROM TUMBLE(events, event_time, INTERVAL \'5 minutes\')\nWHERE event_kind = 1 GROUP BY user_id, window_start, window_end');
  await editor.press('Control+Enter');
  await expect(page.getByRole('alert')).toContainText('event_kind');
  await expect(page.getByRole('button', { name: /line 2/ })).toBeVisible();
  await expect(page.locator('.cm-lintRange-error')).toHaveText('event_kind');
});

for (const colorScheme of ['light', 'dark'] as const) {
  test(`is accessible, ${colorScheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('/explain?segment=engaged_spenders');
    await page.getByRole('group', { name: 'Filter event_type = view' }).click();
    await expect(page.getByRole('region', { name: 'Filter' })).toBeVisible();
    await expect(page.getByLabel('The plan as text')).toContainText('engaged_spenders');
    await expectAccessible(page);
    await page.getByRole('radiogroup', { name: 'Show as' }).getByText('Table').click();
    await expectAccessible(page);
  });
}

test('is read and moved about on a phone', async ({ page }) => {
  await page.setViewportSize(PHONE);
  await page.goto('/explain?node=window0');
  await expect(page.getByRole('region', { name: 'Aggregate' })).toBeVisible();
  await expectToFit(page);

  const scan = page.getByRole('group', { name: 'Scan events' });
  await scan.evaluate((box) => {
    box.scrollIntoView({ block: 'center' });
  });
  await expect(scan).toBeInViewport();
  await expect(scan).toContainText(/[1-9]\d*\/s/);
  const box = async () => (await scan.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
  const before = await box();
  expect(before.width, 'large enough to be read').toBeGreaterThan(190);

  // By the free space below it.
  const [x, y] = [before.x + before.width / 2, before.y + before.height + 24];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x - 150, y, { steps: 6 });
  await page.mouse.up();
  await expect.poll(async () => Math.round((await box()).x - before.x)).toBeLessThan(-100);
});

test.describe('a thousand segments', () => {
  const events = ['purchase', 'view', 'install', 'add_to_cart'];
  const rules = Array.from({ length: 1_000 }, (_, i) => ({
    id: i,
    segmentId: `rule_${i}`,
    eventType: i % 3 === 0 ? `kind_${i}` : events[i % 4],
    attribute: i % 2 === 0 ? 'count' : 'sum',
    operator: 'GT',
    threshold: i,
    windowMinutes: 1 + (i % 5),
  }));
  let feed: Server;
  let service: Cohort;

  test.beforeAll(async () => {
    feed = createServer((_, response) => response.setHeader('Content-Type', 'application/json').end(JSON.stringify(rules)));
    await new Promise<void>((resolve) => feed.listen(0, '127.0.0.1', resolve));
    service = await Cohort.create(['serve', '--set', `rules.url=http://127.0.0.1:${(feed.address() as AddressInfo).port}/rules`]);
    await expect.poll(async () => (await service.call<{ running: number }>('GET', '/status')).running, { timeout: 60_000 }).toBe(1_000);
  });
  test.afterAll(async () => {
    await service.dispose();
    feed.close();
  });

  test('are drawn in groups, and each is found', async ({ page }) => {
    await page.goto(`${service.url}/explain`);
    await expect(page.getByRole('list', { name: 'What runs, in numbers' })).toContainText('1,000 segments');
    await expect(page.getByText(/^1,\d+ nodes are drawn as \d\d:/)).toBeVisible();
    const boxes = page.getByRole('group').filter({ has: page.locator('[data-kind]') });
    await expect(boxes.first()).toBeVisible();
    expect(await boxes.count()).toBeLessThan(100);

    await page.getByRole('group', { name: /^Filter \d+ more filters/ }).click();
    await expect(page.getByRole('region', { name: /filters in a group/ })).toContainText('The first 40 of');
    await page.getByRole('textbox', { name: /^Search in / }).fill('kind_999');
    await page.getByRole('button', { name: /kind_999/ }).click();
    await expect(page.getByRole('region', { name: 'Filter', exact: true })).toContainText('rule_999');

    await page.getByRole('combobox', { name: 'Show the way of one segment' }).fill('rule_500');
    await page.getByRole('option', { name: 'rule_500', exact: true }).click();
    await expect(page.getByText(/^4 nodes of 1,?\d+ are on its way/)).toBeVisible();
    await expect(page.getByRole('group', { name: 'Segment rule_500' })).toBeVisible();
    await expect(page.getByLabel('The plan as text')).toContainText('Segment: rule_500');
  });
});
