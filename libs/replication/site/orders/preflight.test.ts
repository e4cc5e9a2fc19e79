import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PreflightReport } from '#contracts/replication';
import { ownedDirectory } from '#libs/platform/postgres';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';
import { PreflightOrderHandler } from './preflight.order.js';

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let drive: string;

beforeAll(async () => {
  agency = await TestAgency.start();
  // A path of this host is one that the site cannot have, since it runs on the same.
  drive = await ownedDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-drive-')));
  await agency.query(`CREATE TABLESPACE archive LOCATION '${drive}'`);
  desk = await AgencyDesk.open(agency);
  metro = await WarmSite.start({ role: 'metro', desk, workloadId, tenantId });
});
afterAll(async () => {
  await metro?.close();
  await desk?.close();
  await agency?.remove();
  await rm(drive, { recursive: true, force: true });
});

async function preflight(): Promise<PreflightReport> {
  const payload = { preflightId: randomUUID(), agentId: desk.agentId, workloadName: agency.workload.name };
  const order = { id: randomUUID(), number: 1, tenantId, payload };
  await metro.app.get(PreflightOrderHandler).carryOut(order, new AbortController().signal);
  const results = await metro.results<{ preflightId: string; report: PreflightReport }>('replication.preflight');
  return results.find(({ preflightId }) => preflightId === payload.preflightId)!.report;
}

test('the answer has what the server lacks, and what the site does', async () => {
  const { ok, findings, server } = await preflight();
  expect(ok).toBe(false);
  expect(findings.filter(({ severity }) => severity === 'blocker')).toMatchObject([
    { code: 'site.tablespace-refused' },
  ]);
  expect(findings.map(({ code }) => code)).toContain('data.tablespaces');
  expect(server!.version).toContain(' on ');
});

test('a site that cannot run the server says why and copies nothing, and begins by itself once it can', async () => {
  await metro.protect();
  const { alarms } = await metro.until('the refusal', ({ state }) => state === 'broken');
  expect(alarms).toContainEqual(expect.objectContaining({ code: 'standby.site-unfit' }));
  expect(alarms[0]!.what).toContain('Tablespace archive');
  expect(await metro.driver.list()).toEqual([]);
  await agency.query('DROP TABLESPACE archive');
  expect((await preflight()).ok).toBe(true);
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
});
