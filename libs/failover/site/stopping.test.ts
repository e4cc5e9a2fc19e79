import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { findPostgres, PostgresServer, childProcesses, signalProcess } from '#libs/platform/postgres';
import { type LoneSite, WarmWorld } from '#test/warm-world';

const worlds = { regional: new WarmWorld(), metro: new WarmWorld() };
let regional: LoneSite;
let metro: LoneSite;
beforeAll(async () => {
  [regional, metro] = await Promise.all([worlds.regional.openAlone('regional'), worlds.metro.openAlone('metro')]);
  await regional.site.until('the regional to stream', ({ state }) => state === 'streaming');
  await metro.site.until('the metro to be armed', ({ armed }) => armed === true);
});
afterAll(async () => {
  await worlds.regional.close();
  await worlds.metro.close();
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
