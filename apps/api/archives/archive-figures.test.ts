import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { Metrics } from '#libs/platform/telemetry';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';
import { Scraped } from '#test/scrape';

const WITHIN = { timeoutMs: 30_000 };
let plane: ControlPlane;
beforeAll(async () => {
  plane = await ControlPlane.start();
  await plane.workerService(Metrics).open();
});
afterAll(() => plane?.close());

const scrape = async (): Promise<Scraped> => new Scraped((await plane.workerService(Metrics).scrape()).text);
/** Late and unknown archives of the metro. */
const until = (late: number, unknown: number): Promise<Scraped> =>
  waitFor(
    `${late} late and ${unknown} unknown archives`,
    async () => {
      const scraped = await scrape();
      const of = (what: string) => scraped.value(`mainstay_archives_${what}`, { site_id: plane.metro.id });
      return of('late') === late && of('unknown') === unknown && scraped;
    },
    WITHIN,
  );

test('late archives, and those of which nobody knows, can be scraped by site', async () => {
  await until(0, 0);
  const archive = await ArchivedWorkload.make(plane);
  archive.state();
  await plane.until(archive.path, archive.agency.apiKey, ({ state }) => state === 'active');
  await until(0, 0);
  await plane.api.rows(`UPDATE archive SET expected_since = now() - interval '49 hours' WHERE id = $1`, [archive.id]);
  const late = await until(1, 0);
  expect(late.value('mainstay_archives_late', { site_id: plane.regional.id })).toBe(0);
  for (const secret of [archive.agency.id, archive.id]) expect(late.text).not.toContain(secret);

  const { runId } = archive.run({ state: 'unknown' });
  await until(1, 1);
  archive.run({ runId, state: 'completed', endedAt: new Date().toISOString() });
  await until(0, 0);
  const since = new Date().toISOString();
  archive.state({ alarms: [{ code: 'source-silent', since, what: 'Its agent does not answer.' }] });
  await until(0, 1);
  archive.state();
  await until(0, 0);
  await plane.metro.cut();
  // What a site said last is not what is; that its archives are late is known without it.
  const cut = await until(0, 1);
  expect(cut.value('mainstay_collector_failures_total', { collector: 'archives' })).toBe(0);
  await plane.metro.open();
  await until(0, 0);
});
