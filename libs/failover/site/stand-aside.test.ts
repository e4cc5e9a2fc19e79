import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SiteTransaction } from '#libs/platform/database';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { ResumeReceivingHandler, StopReceivingHandler } from './peers/stop-receiving.handler.js';

const world = new WarmWorld();
const { workloadId } = world;
const caller = { siteId: randomUUID(), workloadId };
let metro: WarmSite;

beforeAll(async () => {
  await world.openAgency();
  metro = await world.openSite('metro');
  await metro.protect();
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
});
afterAll(() => world.close());

const first = async (statement: string) =>
  (await metro.work.run((tx: SiteTransaction) => tx.query<Record<string, unknown>>(statement, [workloadId])))[0];
const receivers = async () => (await metro.sql('SELECT FROM pg_stat_wal_receiver')).length;
const held = () =>
  first(`SELECT hold, hold_until < now() + interval '1 day' AS lapses FROM standby WHERE workload_id = $1`);
const refused = async () => (await first('SELECT refused FROM armed_lease WHERE workload_id = $1'))?.['refused'];
const armed = () => metro.until('the metro to be armed again', (health) => health.armed === true);

test('a held site receives nothing and gives no lease, without an end, and an older word does not free it', async () => {
  await metro.standAside('hold', 3);
  expect(await receivers()).toBe(0);
  expect(await refused()).toBe(true);
  expect(await held()).toEqual({ hold: 'epoch 3 at the other site', lapses: false });
  // The other site's own request does not put an end to it.
  await metro.app.get(StopReceivingHandler).answer(caller, { workloadId, epoch: 3 }, AbortSignal.timeout(20_000));
  await metro.standAside('resume', 2);
  await metro.app.get(ResumeReceivingHandler).answer(caller, { workloadId, epoch: 2 });
  await metro.app.get(ResumeReceivingHandler).answer(caller, { workloadId });
  expect(await held()).toEqual({ hold: 'epoch 3 at the other site', lapses: false });
  expect(await refused()).toBe(true);
});

test('it goes on as before when the run comes to nothing, by either word', async () => {
  await metro.standAside('resume', 3);
  await armed();
  await metro.standAside('hold', 3);
  expect(await held()).toMatchObject({ hold: null });
  await metro.standAside('hold', 4);
  await metro.app.get(ResumeReceivingHandler).answer(caller, { workloadId, epoch: 4 });
  await armed();
});

test('once the other site is the primary it never follows the agency again by itself', async () => {
  await metro.standAside('promoted', 5);
  await metro.standAside('resume', 5);
  await metro.app.get(ResumeReceivingHandler).answer(caller, { workloadId, epoch: 5 });
  expect(await held()).toEqual({ hold: 'epoch 5 at the other site', lapses: false });
  expect(await receivers()).toBe(0);
});
