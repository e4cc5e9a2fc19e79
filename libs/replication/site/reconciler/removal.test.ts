import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { disarmCommand, releaseCommand } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { TEST_NAMES, type TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import { person } from '#test/person';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

// The metro's promise of twelve seconds is waited for.
vi.setConfig({ testTimeout: 180_000 });
const world = new WarmWorld();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  ({ metro, regional } = await world.openProtectedPair());
});
afterAll(() => world.close());

test('a regional site that leads records the end, and lets go of production by the release alone', async () => {
  metro.freeze();
  const writing = agency.query(`INSERT INTO permit (note) VALUES ('waits')`);
  await regional.until('the stall to be told', ({ alarms }) =>
    alarms.some(({ code }) => code === 'replication.stalled'),
  );
  await person.degrade(regional, 'regional');
  await regional.until('the regional to lead', ({ armed, synchronousSite }) =>
    Boolean(armed && synchronousSite === 'regional'),
  );
  await writing;
  const arming = () => regional.results<{ armed: boolean }>('replication.arming-changed');
  const recordedAtRelease: (boolean | undefined)[] = [];
  const call = desk.commands.call.bind(desk.commands);
  desk.commands.call = async (agentId, command, input, options) => {
    if (command.path === releaseCommand.path) recordedAtRelease.push((await arming()).at(-1)?.armed);
    return call(agentId, command, input, options);
  };
  desk.commands.called.length = 0;
  await regional.unprotect();
  await waitFor('the end to be told', async () => (await regional.results('replication.unprotected')).length === 1, {
    timeoutMs: 60_000,
  });
  expect(recordedAtRelease).toEqual([false]);
  // The agent would not take it from a regional site.
  expect(desk.commands.called).not.toContain(disarmCommand.path);
  const [names] = await agency.query<{ names: string }>(`SELECT current_setting('synchronous_standby_names') AS names`);
  expect(names?.names).toBe('');
  await agency.query(`INSERT INTO permit (note) VALUES ('goes on alone')`);
  const slots = await agency.query<{ slot: string }>('SELECT slot_name AS slot FROM pg_replication_slots');
  expect(slots.map(({ slot }) => slot)).toEqual([TEST_NAMES.metroSlot]);
  expect(await regional.driver.list()).toEqual([]);
});
