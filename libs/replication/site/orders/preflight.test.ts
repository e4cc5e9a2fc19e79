import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PreflightReport } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { ProcessDriver, type ProcessDriverOptions, type SiteBuild } from '#libs/sites/site';
import type { TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { PreflightOrderHandler } from './preflight.order.js';

const world = new WarmWorld();
const { tenantId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;

const LIBRARY = 'pg_stat_statements';

/** A host on which the library is installed only later. */
class PlainHost extends ProcessDriver {
  static installed = false;

  override async build(majorVersion: number): Promise<SiteBuild> {
    const build = await super.build(majorVersion);
    return PlainHost.installed ? build : { ...build, libraries: build.libraries.filter((name) => name !== LIBRARY) };
  }
}

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency({ shared_preload_libraries: LIBRARY }));
  const driver = (options: ProcessDriverOptions) => new PlainHost(options);
  metro = await world.openSite('metro', { driver });
});
afterAll(() => world.close());

async function preflight(): Promise<PreflightReport> {
  const payload = { preflightId: randomUUID(), agentId: desk.agentId, workloadName: agency.workload.name };
  const order = { id: randomUUID(), number: 1, tenantId, payload };
  await metro.app.get(PreflightOrderHandler).carryOut(order, new AbortController().signal);
  const results = await metro.results<{ preflightId: string; report: PreflightReport }>('replication.preflight');
  return results.find(({ preflightId }) => preflightId === payload.preflightId)!.report;
}

const blockers = ({ findings }: PreflightReport) =>
  findings.flatMap(({ code, severity }) => (severity === 'blocker' ? [code] : []));

test('the answer has what the server lacks, and what the site does', async () => {
  await agency.query('ALTER SYSTEM SET fsync = off');
  await agency.query('SELECT pg_reload_conf()');
  await waitFor('both', async () => blockers(await preflight()).join() === 'fsync.off,site.library-missing', {
    timeoutMs: 20_000,
  });
  await agency.query('ALTER SYSTEM RESET fsync');
  await agency.query('SELECT pg_reload_conf()');
  const { ok, server } = await preflight();
  expect(ok).toBe(false);
  expect(server!.version).toContain(' on ');
});

test('a site that cannot run the server says why and copies nothing, and begins by itself once it can', async () => {
  await metro.protect();
  const { alarms } = await metro.until('the refusal', ({ state }) => state === 'broken');
  expect(alarms.find(({ code }) => code === 'standby.site-unfit')?.what).toContain(LIBRARY);
  expect(await metro.driver.list()).toEqual([]);
  PlainHost.installed = true;
  expect(await preflight()).toMatchObject({ ok: true });
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
});
