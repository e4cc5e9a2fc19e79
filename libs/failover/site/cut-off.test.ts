import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import type { TestAgency } from '#test/agency';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';

// The agency's one line to the world fails: packets to both sites are lost, and nothing is refused.
const world = new WarmWorld();
let agency: TestAgency;
let metro: WarmSite;
let regional: WarmSite;
const both = () => [metro, regional];

beforeAll(async () => {
  ({ agency } = await world.openAgency());
  ({ metro, regional } = await world.openProtectedPair());
  await whole();
});
afterAll(() => world.close());

const whole = async () => {
  await metro.until('the metro to be armed', ({ state, armed }) => state === 'streaming' && armed === true);
  await regional.until('the regional to stream', ({ state }) => state === 'streaming');
};
/** What is wanted reaches the agent with a pulse that is prepared afterwards: so two more answers. */
const heard = async () => {
  for (let answers = 0; answers < 2; answers++) {
    const before = (await metro.health())?.sourceSeenAt ?? '';
    await metro.until('another answer', ({ sourceSeenAt }) => (sourceSeenAt ?? '') > before);
  }
};
const silent = async () => {
  for (const site of both()) {
    const health = await site.until('the silence', ({ alarms }) => alarms.some(({ code }) => code === 'source-silent'));
    expect(health).toMatchObject({ sourceLsn: null, bytesBehind: null, secondsBehind: null });
  }
};
const write = (note: string) => agency.query(`INSERT INTO permit (note) VALUES ('${note}')`);
const notes = async (site: WarmSite) =>
  (await site.sql<{ note: string }>('SELECT note FROM permit ORDER BY id')).map(({ note }) => note);

test('strict: nothing is acknowledged while both are cut off, and all of it once they are back', async () => {
  await write('before');
  for (const site of both()) site.freeze();
  let acknowledged = false;
  const waiting = write('during').then(() => (acknowledged = true));
  await silent();
  await metro.until('the lease to run out', ({ armed }) => armed !== true);
  expect(acknowledged).toBe(false);
  for (const site of both()) site.thaw();
  await waiting;
  await whole();
  for (const site of both()) {
    await waitFor('all of it', async () => (await notes(site)).join() === 'before,during', { timeoutMs: 20_000 });
  }
});

test('available: the agency goes on alone once its promise is over, and a promotion then asks first', async () => {
  await Promise.all([
    metro.protect({ peer: regional.asPeer, mode: 'available' }),
    regional.protect({ peer: metro.asPeer, mode: 'available' }),
  ]);
  await heard();
  await whole();
  for (const site of both()) site.freeze();
  await write('alone');
  await silent();
  expect(await notes(metro)).toEqual(['before', 'during']);
  const runId = await metro.failover({ otherSite: regional.asPeer });
  await waitFor('the run to ask', async () => (await metro.runState(runId)) === 'awaiting-confirmation', {
    timeoutMs: 60_000,
  });
  await metro.cancel(runId);
  expect((await metro.finished(runId)).state).toBe('cancelled');
  for (const site of both()) site.thaw();
  await whole();
  await waitFor('what was written alone', async () => (await notes(metro)).at(-1) === 'alone', { timeoutMs: 20_000 });
});
