import { rename } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fenceCommand } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { findPostgres, PostgresServer } from '#libs/platform/postgres';
import { ArmedLeases } from '#libs/replication/site';
import { type LoneSite, WarmWorld } from '#test/warm-world';

const worlds = [new WarmWorld(), new WarmWorld(), new WarmWorld()] as const;
let silent: LoneSite;
let answering: LoneSite;
let broken: LoneSite;

async function open(world: WarmWorld): Promise<LoneSite> {
  const alone = await world.openAlone('regional');
  await alone.site.until('the regional to stream', ({ state }) => state === 'streaming');
  return alone;
}
beforeAll(async () => {
  [silent, answering, broken] = await Promise.all([open(worlds[0]), open(worlds[1]), open(worlds[2])]);
});
afterAll(async () => {
  for (const world of worlds) await world.close();
});

const lease = ({ site, workloadId }: LoneSite) =>
  site.work.run((tx) => site.app.get(ArmedLeases).state(tx, workloadId));
const ACCEPTED = { acceptedLoss: { kind: 'unknown' }, oldServer: 'unknown' } as const;

test('what another site may have granted is waited out while the agency is silent', async () => {
  const { agency, desk, site, workloadId } = silent;
  desk.alive = false;
  await agency.server.kill9();
  const runId = await site.failover({ ...ACCEPTED, noDegradeGranted: false });
  // By the database's clock: long enough for a whole failover, and far from the end of a grant.
  const waited = await waitFor(
    'some of its time',
    async () => {
      const { refusedSeconds } = await lease(silent);
      return (refusedSeconds ?? 0) > 3 ? refusedSeconds! : undefined;
    },
    { timeoutMs: 20_000 },
  );
  expect(waited).toBeLessThan(30);
  expect(Object.keys(await site.steps(runId))).toEqual(['refuse-leases']);
  expect((await site.driver.position(workloadId)).inRecovery).toBe(true);
  await site.work.run((tx) =>
    tx.execute(`UPDATE armed_lease SET refused_at = refused_at - interval '1 minute' WHERE workload_id = $1`, [
      workloadId,
    ]),
  );
  expect((await site.finished(runId)).state).toBe('completed');
});

test('an agency that answers that nothing of it runs alone is not waited for', async () => {
  const { site } = answering;
  const runId = await site.failover({ ...ACCEPTED, noDegradeGranted: false });
  expect((await site.finished(runId)).state).toBe('completed');
  expect((await lease(answering)).refusedSeconds).toBeLessThan(30);
});

test('production is not stopped for a standby that does not start', async () => {
  const { agency, desk, site, workloadId } = broken;
  const data = path.join(site.home.directory, 'standbys', 'volumes', workloadId, 'data');
  const control = path.join(data, 'global', 'pg_control');
  await (await PostgresServer.at(await findPostgres(), data)).kill9();
  await rename(control, `${control}.away`);
  const runId = await site.failover(ACCEPTED);
  const told = () => site.results<{ step: string | null; stepState: string | null }>('failover.event');
  await waitFor(
    'the run to find its own server down',
    async () => (await told()).some(({ step, stepState }) => step === 'fence-agency' && stepState === 'retrying'),
    { timeoutMs: 30_000 },
  );
  expect(desk.commands.called).not.toContain(fenceCommand.path);
  expect(await agency.server.isRunning()).toBe(true);
  await agency.query(`INSERT INTO permit (note) VALUES ('written meanwhile')`);
  await rename(`${control}.away`, control);
  expect((await site.finished(runId)).state).toBe('completed');
  expect(desk.commands.called).toContain(fenceCommand.path);
  expect(await agency.server.isRunning()).toBe(false);
});
