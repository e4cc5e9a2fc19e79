import { afterAll, beforeAll, expect, test } from 'vitest';
import { peerFollow } from '#contracts/failover';
import { waitFor } from '#libs/platform/clock';
import { lsnDifference } from '#libs/platform/postgres';
import { PeerRefusedError } from '#libs/sites/site';
import type { TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { RunConflictError, RunTooLateError, StaleEpochError } from './index.js';

// One story, since each part needs what the one before has made: two sites, the loss of the agency, then of the metro.
const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

const notes = (site: WarmSite) =>
  site.sql<{ note: string }>('SELECT note FROM permit WHERE note IS NOT NULL ORDER BY id');
const regionalHas = (note: string) =>
  waitFor(`"${note}" at the regional site`, async () => (await notes(regional)).some((row) => row.note === note), {
    timeoutMs: 20_000,
  });
/** The other site then refuses what it did not know before `keptFromLsn`. Answers how it was asked to follow. */
function asSiteOfBefore(site: WarmSite): string[] {
  const asked: string[] = [];
  const call = site.peers.call.bind(site.peers);
  site.peers.call = async (address, command, input, options) => {
    if (command.path !== peerFollow.path) return call(address, command, input, options);
    const isKnown = peerFollow.input.omit({ keptFromLsn: true }).safeParse(input).success;
    asked.push(isKnown ? 'without' : 'with keptFromLsn');
    if (!isKnown) throw new PeerRefusedError('peer-command.malformed', 'Update both sites.');
    return call(address, command, input, options);
  };
  return asked;
}

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  await agency.query(`INSERT INTO permit (note) SELECT NULL FROM generate_series(1, 20000)`);
  ({ metro, regional } = await world.openPair());
});
afterAll(() => world.close());

test('the metro is armed, and the regional is copied from it: the data leaves the agency once', async () => {
  await Promise.all([metro.protect({ peer: regional.asPeer }), regional.protect({ peer: metro.asPeer })]);
  await metro.until('the metro to be armed', (health) => health.armed === true);
  const before = desk.commands.called.filter((path) => path === '/v1/backup/begin').length;
  await regional.until('the regional to stream', (health) => health.state === 'streaming');
  expect(desk.commands.called.filter((path) => path === '/v1/backup/begin')).toHaveLength(before);
  const health = await regional.until('it to have all', ({ bytesBehind }) => bytesBehind === 0);
  expect(health).toMatchObject({ armed: null, secondsBehind: 0, alarms: [] });
});

test('with the metro cut off the regional runs ahead; the metro fetches that, takes over, and the regional follows', async () => {
  await agency.query(`INSERT INTO permit (note) VALUES ('acknowledged')`);
  await waitFor(
    'the slot for the regional',
    async () => (await metro.sql('SELECT FROM pg_replication_slots')).length === 1,
    { timeoutMs: 15_000 },
  );
  await regionalHas('acknowledged');
  metro.freeze();
  const client = await agency.connect();
  client.query(`INSERT INTO permit (note) VALUES ('never acknowledged')`).catch(() => undefined);
  await regionalHas('acknowledged');
  const ahead = await waitFor(
    'the regional to be ahead',
    async () => {
      const [mine, theirs] = await Promise.all([
        metro.driver.position(workloadId),
        regional.driver.position(workloadId),
      ]);
      return lsnDifference(theirs.flushedLsn!, mine.flushedLsn!) > 0n && theirs.flushedLsn;
    },
    { timeoutMs: 20_000 },
  );
  desk.alive = false;
  await agency.server.kill9();
  await regional.standAside('hold', 2);
  // Whatever else tells the site of the epoch, the new primary's request to follow it is of the same.
  await regional.protect({ peer: metro.asPeer, epoch: 2 });
  const asked = asSiteOfBefore(metro);
  const runId = await metro.failover({ otherSite: regional.asPeer });
  await expect(metro.failover({ epoch: 3 })).rejects.toThrow(RunConflictError);
  const { state, report } = await metro.finished(runId);
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' }, promotedTimeline: 2, epoch: 2 });
  const steps = await metro.steps(runId);
  expect(steps['fetch-missing']).toMatchObject({ state: 'done', evidence: { reached: ahead } });
  expect(steps['repoint-other-site']).toMatchObject({ state: 'done' });
  expect(steps['fence-agency']).toMatchObject({ state: 'skipped' });
  expect(asked.slice(0, 2)).toEqual(['with keptFromLsn', 'without']);
  expect(await notes(metro)).toEqual([{ note: 'acknowledged' }, { note: 'never acknowledged' }]);
  await metro.sql(`INSERT INTO permit (note) VALUES ('written at the metro site')`);
  await regionalHas('written at the metro site');
  await regional.standAside('promoted', 2);
  await regional.until('its health to say so', (health) => health.state === 'streaming' && health.epoch === 2);
  await expect(metro.failover({ epoch: 2 })).rejects.toThrow(StaleEpochError);
  await expect(metro.cancel(runId)).rejects.toThrow(RunTooLateError);
});

test('the regional takes over when the metro is lost too: it asks first, can be cancelled, and goes on when told', async () => {
  await metro.shutdown();
  await metro.driver.ensureStopped(workloadId);
  regional.peers.lost.add(metro.home.siteId);
  const order = { epoch: 3, otherSite: metro.asPeer };
  const cancelled = await regional.failover(order);
  const asks = (runId: string) =>
    waitFor('the run to ask', async () => (await regional.runState(runId)) === 'awaiting-confirmation', {
      timeoutMs: 10_000,
    });
  await asks(cancelled);
  await regional.cancel(cancelled);
  expect((await regional.finished(cancelled)).state).toBe('cancelled');
  const runId = await regional.failover(order);
  await asks(runId);
  expect((await regional.driver.position(workloadId)).inRecovery).toBe(true);
  await regional.confirm(runId);
  const { state, report } = await regional.finished(runId);
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'unknown' }, epoch: 3, otherSiteLagBytes: null });
  await regional.sql(`INSERT INTO permit (note) VALUES ('written at the regional site')`);
});

test('the metro comes back with an older epoch: it is copied anew and follows', async () => {
  regional.peers.lost.clear();
  await metro.boot();
  metro.freeze();
  await metro.until('the metro to follow', ({ state, epoch }) => state === 'streaming' && epoch === 3);
  await waitFor(
    'what was written meanwhile',
    async () => (await notes(metro)).at(-1)?.note === 'written at the regional site',
    { timeoutMs: 20_000 },
  );
  await metro.until(
    'its health to say so',
    (health) => health.timeline === 3 && health.frontDoor?.leadsTo === 'closed',
  );
});
