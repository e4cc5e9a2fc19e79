import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { ArmedLeases, SourceReports } from '#libs/replication/site';
import { type TestAgency, TEST_NAMES } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import { Clerk } from '#test/clerk';
import { person } from '#test/person';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { PromotionOutlooks } from './outlook.service.js';

// The ways in which a site could claim what is not so, and an agent that dies in the middle of a change.
// Promises of twelve seconds and a patience of thirty are waited for.
vi.setConfig({ testTimeout: 240_000 });
const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

type Site = 'metro' | 'regional';
const FORM: Readonly<Record<Site, string>> = {
  metro: `FIRST 1 ("${TEST_NAMES.metroApplication}","${TEST_NAMES.lease}")`,
  regional: `FIRST 1 ("${TEST_NAMES.regionalApplication}","${TEST_NAMES.lease}")`,
};
const lease = (site: WarmSite) => site.work.run((tx) => site.app.get(ArmedLeases).state(tx, workloadId));
const report = (site: WarmSite) => site.work.run((tx) => site.app.get(SourceReports).of(tx, workloadId));
const outlook = (site: WarmSite, noDegradeGranted: boolean) =>
  site.app.get(PromotionOutlooks).outlook(workloadId, { noDegradeGranted });
const siteOf = (role: Site) => (role === 'metro' ? metro : regional);
/** From now on: what was heard before does not count. */
async function armed(role: Site): Promise<void> {
  const begun = new Date();
  await waitFor(
    `the ${role} to be the armed one`,
    async () => {
      const [held, heard] = await Promise.all([lease(siteOf(role)), report(siteOf(role))]);
      const fresh = heard !== undefined && heard.receivedAt > begun && heard.report.synchronousSite === role;
      return fresh && held.armed && held.disarmedAt === null;
    },
    { timeoutMs: 60_000 },
  );
}
/** What holds, and what the next reload would make of it. */
const settings = async () =>
  (
    await agency.query<{ holds: string; filed: string }>(
      `SELECT current_setting('synchronous_standby_names') AS holds,
              (SELECT setting FROM pg_file_settings WHERE name = 'synchronous_standby_names'
                ORDER BY seqno DESC LIMIT 1) AS filed`,
    )
  )[0]!;
const alter = (role: Site) => agency.query(`ALTER SYSTEM SET synchronous_standby_names = '${FORM[role]}'`);
beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  ({ metro, regional } = await world.openProtectedPair());
  await armed('metro');
});
afterAll(() => world.close());

/** The agent is killed after the ALTER SYSTEM, before the reload: another is started. */
async function killedBeforeReload(from: Site, to: Site): Promise<void> {
  await desk.restart(async () => {
    await waitFor('the lease to be over', async () => !(await lease(siteOf(from))).armed, { timeoutMs: 30_000 });
    await alter(to);
  });
  const said = await waitFor(
    'the new agent to see it',
    async () => {
      const heard = await report(siteOf(from));
      return heard && heard.ageSeconds < 1 && heard.report.notArmedBecause?.startsWith('a change') && heard.report;
    },
    { timeoutMs: 10_000, everyMs: 20 },
  );
  expect(said).toMatchObject({ armed: false, synchronousSite: from });
  // A reload, whoever makes it, would change the leader: until that is taken back nobody is armed.
  expect((await lease(siteOf(from))).armed).toBe(false);
  await armed(from);
  expect(await settings()).toEqual({ holds: FORM[from], filed: FORM[from] });
}

test('killed before the reload, on the way to the regional site: nobody is armed until what holds is filed again', async () => {
  await killedBeforeReload('metro', 'regional');
});

test('what a dead agent has sent to the server and is not through yet keeps everybody from being armed', async () => {
  const client = await agency.connect();
  await client.query('SELECT pg_advisory_lock(1296651127, 1852796275)');
  await waitFor('the lease to end', async () => !(await lease(metro)).armed, { timeoutMs: 30_000 });
  expect((await report(metro))?.report.notArmedBecause).toBe('a change of synchronous_standby_names is under way');
  await client.end();
  await armed('metro');
});

test('with the metro’s record the change is made at once, and no degrade lease is left to be waited out', async () => {
  const requestId = randomUUID();
  await person.degrade(metro, 'regional', requestId);
  await person.degrade(regional, 'regional', requestId);
  await armed('regional');
  const recorded = await lease(metro);
  expect(recorded).toMatchObject({ armed: false, degradeSecondsLeft: 0, endedBecause: 'disarmed' });
  const [changed] = await agency.query<{ at: Date }>('SELECT pg_conf_load_time() AS at');
  expect(recorded.disarmedAt!.getTime()).toBeLessThanOrEqual(changed!.at.getTime());
  expect((await outlook(metro, false)).loss.kind).toBe('unknown');
});

test('killed after the reload: the server alone says who leads, and the regional site is armed again', async () => {
  metro.freeze();
  await desk.restart();
  await armed('regional');
  expect(await settings()).toEqual({ holds: FORM.regional, filed: FORM.regional });
});

test('killed before the reload, on the way back: the regional site goes on leading', async () => {
  await killedBeforeReload('regional', 'metro');
});

test('the regional’s record of a return that does not come is over, and it is armed again', async () => {
  const request = { workloadId, requestId: randomUUID(), lsn: null, leaseSeconds: null, reason: 'test' };
  await regional.work.run((tx) =>
    regional.app.get(ArmedLeases).recordDisarm(tx, { ...request, to: 'metro', by: 'agent' }),
  );
  expect(await lease(regional)).toMatchObject({ armed: false, endedBecause: 'disarmed' });
  expect((await outlook(regional, true)).loss.kind).toBe('unknown');
  // The metro is away, so the agent asks for nothing of the kind.
  await armed('regional');
  expect(await lease(regional)).toMatchObject({ disarmedAt: null });
  expect(await settings()).toEqual({ holds: FORM.regional, filed: FORM.regional });
});

test('the regional is cut off, and a person returns to the metro: the regional must not claim that nothing is lost', async () => {
  const clerk = await Clerk.at(agency, 'trap');
  await clerk.more(3);
  metro.thaw();
  await metro.until('the metro to be near', ({ state }) => state === 'streaming');
  regional.freeze();
  desk.offer({ requestId: randomUUID(), to: 'metro', until: Infinity });
  await armed('metro');
  await clerk.more(5);
  // It has heard nothing and recorded nothing. Its lease is over, as promised, and the rest is the control plane's word.
  expect(await lease(regional)).toMatchObject({
    armed: false,
    everArmed: true,
    disarmedAt: null,
    endedBecause: 'ran-out',
  });
  expect((await outlook(regional, false)).loss.kind).toBe('unknown');
  const against = (await outlook(metro, false)).contrary;
  expect(against?.what).toBe('the regional site is not the synchronous one');
  desk.offer(null);
  regional.thaw();
  await regional.until('the regional to hear it', ({ synchronousSite }) => synchronousSite === 'metro');
  expect((await outlook(regional, true)).loss.kind).toBe('unknown');
  await clerk.stop();
});

test('the regional is lost while it leads: a grant that the metro passes on lets production go on alone', async () => {
  await regional.until(
    'the regional to stream',
    ({ state, bytesBehind }) => state === 'streaming' && bytesBehind === 0,
  );
  await person.degrade(metro, 'regional');
  await armed('regional');
  const clerk = await Clerk.at(agency, 'alone');
  await clerk.more(3);
  regional.freeze();
  await metro.until('the stall', ({ alarms }) => alarms.some(({ code }) => code === 'replication.stalled'));
  await person.degrade(metro, 'alone');
  await clerk.more(5);
  expect(await settings()).toEqual({ holds: FORM.regional, filed: FORM.regional });
  expect((await report(metro))?.report.degraded).not.toBeNull();
  for (const site of [metro, regional]) expect((await outlook(site, false)).loss.kind).not.toBe('none');
  await clerk.stop();
  // Back to the metro by a person's word, since nobody can ask the regional site.
  await person.rearm(metro);
  await armed('metro');
  expect(await settings()).toEqual({ holds: FORM.metro, filed: FORM.metro });
  expect((await outlook(regional, false)).loss.kind).toBe('unknown');
});
