import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { armCommand, disarmCommand } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { ArmedLeases } from '#libs/replication/site';
import { type TestAgency, TEST_NAMES } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import { Clerk } from '#test/clerk';
import { person } from '#test/person';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { PromotionOutlooks } from './outlook.service.js';

// One story: the metro is lost twice, and the agency then.
// Promises of twelve seconds and a patience of thirty are waited for.
vi.setConfig({ testTimeout: 240_000 });
const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

const lease = (site: WarmSite) => site.work.run((tx) => site.app.get(ArmedLeases).state(tx, workloadId));
const outlook = (site: WarmSite, noDegradeGranted: boolean) =>
  site.app.get(PromotionOutlooks).outlook(workloadId, { noDegradeGranted });
const names = async () =>
  (await agency.query<{ value: string }>(`SELECT current_setting('synchronous_standby_names') AS value`))[0]!.value;
const ledByRegional = () =>
  regional.until(
    'the regional to be the armed one',
    ({ armed, synchronousSite }) => armed === true && synchronousSite === 'regional',
  );
const stalled = (site: WarmSite) =>
  site.until('the stall to be told', ({ alarms }) => alarms.some(({ code }) => code === 'replication.stalled'));

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  ({ metro, regional } = await world.openProtectedPair());
});
afterAll(() => world.close());

test('the metro is lost, strict waits, and by a person’s word production goes on with the regional site', async () => {
  expect(await metro.health()).toMatchObject({ synchronousSite: 'metro', armed: true });
  expect(await regional.health()).toMatchObject({ synchronousSite: 'metro', armed: null });
  const clerk = await Clerk.at(agency, 'first');
  await clerk.more(3);
  metro.freeze();
  const { alarms } = await stalled(regional);
  const before = clerk.acknowledged.length;
  // The better way out is named first.
  expect(alarms.find(({ code }) => code === 'replication.stalled')?.remedy).toMatch(/"regional".*"alone"/);
  await person.degrade(regional, 'regional');
  await clerk.more(3);
  // The clerk had waited: nothing was acknowledged from the loss until the change.
  expect(clerk.acknowledged.length).toBeGreaterThanOrEqual(before + 3);
  await ledByRegional();
  await clerk.stop();
  expect(await names()).toContain(TEST_NAMES.regionalApplication);
  expect(
    await agency.query('SELECT FROM pg_stat_replication WHERE application_name = $$' + TEST_NAMES.lease + '$$'),
  ).toEqual([]);
  // It was acknowledged by the regional site: all of it is there, at that moment.
  const { flushedLsn } = await regional.driver.position(workloadId);
  expect(flushedLsn).not.toBeNull();
  const [behind] = await agency.query<{ bytes: string }>(
    `SELECT greatest(0, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '${flushedLsn!}'))::text AS bytes`,
  );
  expect(Number(behind?.bytes)).toBeLessThan(8_192);
});

test('what the metro believed is over, and what each site was told speaks against the metro', async () => {
  expect(await lease(metro)).toMatchObject({ armed: false, everArmed: true, endedBecause: 'ran-out' });
  expect((await outlook(metro, false)).loss.kind).toBe('unknown');
  expect((await outlook(regional, true)).contrary?.what).toBe('the metro site is not the synchronous one');
  const led = await outlook(regional, true);
  expect(led).toMatchObject({ armed: true, loss: { kind: 'none' } });
});

test('a metro that is back is not armed over the regional’s head, and claims nothing', async () => {
  metro.thaw();
  await metro.until(
    'the metro to stream again',
    ({ state, synchronousSite, armed }) => state === 'streaming' && synchronousSite === 'regional' && armed === null,
  );
  const command = { workloadId, workloadName: agency.workload.name, names: TEST_NAMES };
  const options = { timeoutMs: 10_000 };
  await expect(
    desk.commands.call(desk.agentId, armCommand, { ...command, mode: 'strict' }, options),
  ).rejects.toMatchObject({ code: 'replication.regional-leads' });
  // What the metro's pause would ask for concerns a setting that is not there.
  await desk.commands.call(desk.agentId, disarmCommand, command, options);
  expect(await names()).toContain(TEST_NAMES.regionalApplication);
  expect((await outlook(metro, false)).loss.kind).toBe('unknown');
  expect((await lease(metro)).armed).toBe(false);
});

test('it returns to the metro by itself, with the regional site’s record first', async () => {
  const clerk = await Clerk.at(agency, 'second');
  await clerk.more(3);
  await metro.until('the metro to be armed again', ({ armed }) => armed === true, 120_000);
  await clerk.more(3);
  await clerk.stop();
  expect(await names()).toContain(TEST_NAMES.metroApplication);
  const after = await lease(regional);
  expect(after).toMatchObject({ armed: false, endedBecause: 'disarmed' });
  const [changed] = await agency.query<{ at: Date }>('SELECT pg_conf_load_time() AS at');
  expect(after.disarmedAt!.getTime()).toBeLessThanOrEqual(changed!.at.getTime());
  // As the control plane would say it: nothing but the grant to the regional site was given.
  expect((await outlook(regional, true)).loss.kind).toBe('unknown');
  // It hears so by a pulse of its own.
  await regional.until(
    'the regional site to know who leads',
    ({ armed, synchronousSite }) => armed === null && synchronousSite === 'metro',
  );
});

test('lost again, with the regional site in the lead, the agency burns: nothing that was acknowledged is lost', async () => {
  const clerk = await Clerk.at(agency, 'third');
  await clerk.more(3);
  metro.freeze();
  await stalled(regional);
  await person.degrade(regional, 'regional');
  await ledByRegional();
  await clerk.more(20);
  await agency.server.kill9();
  desk.alive = false;
  await clerk.stop();
  regional.peers.lost.add(metro.home.siteId);
  // However long ago it was: in strict mode nobody can have let production go on.
  await waitFor('the lease to be over', async () => !(await lease(regional)).armed, { timeoutMs: 30_000 });
  const order = { otherSite: metro.asPeer, regionalGranted: true } as const;
  const runId = await regional.failover(order);
  const { state, report } = await regional.finished(runId);
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' }, promotedTimeline: 2 });
  const there = new Set((await regional.sql<{ note: string }>('SELECT note FROM permit')).map(({ note }) => note));
  expect(clerk.acknowledged.filter((note) => !there.has(note))).toEqual([]);
});
