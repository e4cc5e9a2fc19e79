import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { findPostgres, PostgresServer, childProcesses, signalProcess } from '#libs/platform/postgres';
import type { SiteRole } from '#contracts/sites';
import type { TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

interface Pair {
  readonly agency: TestAgency;
  readonly desk: AgencyDesk;
  readonly site: WarmSite;
  readonly workloadId: string;
}
const worlds: WarmWorld[] = [];

async function pair(role: SiteRole): Promise<Pair> {
  const world = new WarmWorld();
  worlds.push(world);
  const { agency, desk } = await world.openAgency();
  const site = await world.openSite(role);
  await site.protect();
  return { agency, desk, site, workloadId: world.workloadId };
}

let regional: Pair;
let metro: Pair;
beforeAll(async () => {
  [regional, metro] = await Promise.all([pair('regional'), pair('metro')]);
  await regional.site.until('the regional to stream', ({ state }) => state === 'streaming');
  await metro.site.until('the metro to be armed', ({ armed }) => armed === true);
});
afterAll(async () => {
  for (const world of worlds) await world.close();
});

test('an agency that still answers is stopped cleanly, and what that proves replaces what was feared', async () => {
  const { agency, site } = regional;
  await agency.query(`INSERT INTO permit (note) VALUES ('the last one')`);
  const runId = await site.failover();
  await waitFor('the run to ask', async () => (await site.runState(runId)) === 'awaiting-confirmation', {
    timeoutMs: 10_000,
  });
  // A person is asked before anything is done to production.
  expect(await agency.server.isRunning()).toBe(true);
  expect(Object.keys(await site.steps(runId))).toEqual(['refuse-leases']);
  await site.confirm(runId);
  const { state, report } = await site.finished(runId);
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' } });
  expect(await agency.server.isRunning()).toBe(false);
  expect(await site.sql('SELECT note FROM permit')).toEqual([{ note: 'the last one' }]);
});

test('a frozen walreceiver does not keep the site from taking over', async () => {
  const { agency, desk, site, workloadId } = metro;
  const layout = path.join(site.home.directory, 'standbys', 'volumes', workloadId, 'data');
  const postmaster = await PostgresServer.at(await findPostgres(), layout);
  const { pid } = (await postmaster.running())!;
  const receiver = (await childProcesses(pid)).find(({ title }) => title.includes('walreceiver'))!;
  signalProcess(receiver.pid, 'SIGSTOP');
  desk.alive = false;
  await agency.server.kill9();
  const { state, report } = await site.finished(await site.failover());
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' }, promotedTimeline: 2 });
});
