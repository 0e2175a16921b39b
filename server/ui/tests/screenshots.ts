// Each page, light and dark, wide and on a phone: `SCREENSHOTS=folder npm run screenshots`.
import path from 'node:path';
import { DEMO, PHONE, test, type Cohort } from './cohort';

test.use({ args: DEMO });

const folder = process.env.SCREENSHOTS ?? 'test-results/screenshots';

/** A name for the file, the address, and how long the page should have been open, s. */
const PAGES: [name: string, at: string, seconds: number][] = [
  ['dashboard', '/', 40],
  ['segments', '/segments', 3],
  ['segment', '/segments/high_spenders', 3],
  ['editor', '/segments/high_spenders/edit', 3],
  ['new', '/segments/new', 3],
  ['plan', '/segments/engaged_spenders?tab=plan', 4],
  ['members', '/segments/high_spenders?tab=members', 3],
  ['users', '/users', 2],
  ['user', '/users/user_a000000?segment=spenders_who_do_not_look', 8],
  ['explain', '/explain', 4],
  ['generate', '/events/generate', 2],
  ['dead-letters', '/events/dead-letters', 2],
  ['settings', '/settings', 2],
];

/** Records of several reasons. */
const refused = (cohort: Cohort) =>
  cohort.call('POST', '/events', [
    ...[1, 2, 3].map(() => ({ userId: 'ann', eventType: 'purchase', timestamp: 'yesterday' })),
    ...[1, 2].map(() => ({ eventType: 'purchase', timestamp: Date.now() })),
    { userId: 'bob', eventType: 'purchase', timestamp: Date.now(), value: '12,50 €' },
  ]);

for (const [name, at, seconds] of PAGES) {
  test(name, async ({ page, cohort }) => {
    test.setTimeout(120_000);
    if (name === 'dead-letters') await refused(cohort);
    await page.goto(at);
    await page.waitForTimeout(seconds * 1000);
    for (const width of [1280, PHONE.width]) {
      await page.setViewportSize({ width, height: width === PHONE.width ? PHONE.height : 800 });
      await page.waitForTimeout(400);
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        // As high as the page, so that nothing that sticks is cut off.
        const height = await page.evaluate(() => Math.ceil(document.querySelector('#page')?.scrollHeight ?? 800));
        await page.setViewportSize({ width, height: Math.max(width === PHONE.width ? PHONE.height : 800, height) });
        await page.waitForTimeout(400);
        await page.screenshot({ path: path.join(folder, `${name}-${colorScheme}-${width}.png`), animations: 'disabled' });
      }
    }
  });
}
