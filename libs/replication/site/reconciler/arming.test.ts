import { afterAll, beforeAll, expect, test } from 'vitest';
import { disarmCommand } from '#contracts/replication';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { ArmedLeases } from '../link/index.js';

const world = new WarmWorld();
const { workloadId } = world;
let desk: AgencyDesk;
let metro: WarmSite;

beforeAll(async () => {
  ({ desk } = await world.openAgency());
  metro = await world.openSite('metro');
});
afterAll(() => world.close());

const lease = () => metro.work.run((tx) => metro.app.get(ArmedLeases).state(tx, workloadId));

test('production is let go on alone only after that is recorded, also where it was never armed', async () => {
  const recordedAtCall: boolean[] = [];
  const call = desk.commands.call.bind(desk.commands);
  desk.commands.call = async (agentId, command, input, options) => {
    if (command.path === disarmCommand.path) recordedAtCall.push((await lease()).disarmedAt !== null);
    return call(agentId, command, input, options);
  };
  const slow = { bandwidthBytesPerSecond: 400_000 };
  await metro.protect(slow);
  await metro.until('the copy to be under way', ({ state }) => state === 'seeding');
  expect(await lease()).toMatchObject({ armed: false, everArmed: false, disarmedAt: null });
  await metro.protect({ ...slow, paused: true });
  await metro.until('the pause', ({ state }) => state === 'paused');
  expect(recordedAtCall).toEqual([true]);
  expect(await metro.results('replication.arming-changed')).toMatchObject([{ armed: false }]);
  // What was recorded is taken back only by arming.
  await metro.protect({ paused: false });
  await metro.until('the metro to be armed', ({ armed }) => armed === true);
  expect(await lease()).toMatchObject({ armed: true, disarmedAt: null });
});
