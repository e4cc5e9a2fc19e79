import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import type { TestAgency } from '#test/agency';
import type { AgencyDesk } from '#test/agency-desk';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { StepBoundaries } from './boundaries.js';
import { StaleEpochError } from './index.js';

// Two sites that do not reach each other, and declarations for both: the control plane's word alone keeps them apart.
const world = new WarmWorld();
const { workloadId } = world;
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

const held = async () =>
  (await regional.work.run((tx) => tx.query<{ hold: string | null }>('SELECT hold FROM standby')))[0]?.hold;
const asks = (site: WarmSite, runId: string) =>
  waitFor('the run to ask', async () => (await site.runState(runId)) === 'awaiting-confirmation', {
    timeoutMs: 10_000,
  });

beforeAll(async () => {
  ({ agency, desk } = await world.openAgency());
  ({ metro, regional } = await world.openProtectedPair());
});
afterAll(() => world.close());

test('a word to hold cancels an own run of an older declaration, and one that comes later does not begin', async () => {
  const older = await regional.failover({ epoch: 2 });
  await asks(regional, older);
  await regional.standAside('hold', 3);
  expect((await regional.finished(older)).state).toBe('cancelled');
  expect(await held()).toBe('epoch 3 at the other site');
  expect(await regional.sql('SELECT FROM pg_stat_wal_receiver')).toHaveLength(0);
  await expect(regional.failover({ epoch: 2 })).rejects.toThrow(StaleEpochError);
});

test('a site in the middle of its promotion stops serving when the other was promoted after it, and follows', async () => {
  desk.alive = false;
  await agency.server.kill9();
  regional.peers.lost.add(metro.home.siteId);
  metro.peers.lost.add(regional.home.siteId);
  let promoted: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const atPromotion = new Promise<void>((resolve) => (promoted = resolve));
  const told = new Promise<void>((resolve) => (goOn = resolve));
  regional.app.get(StepBoundaries).reached = async (_runId, step, edge) => {
    if (step !== 'promote' || edge !== 'worked') return;
    promoted();
    await told;
  };
  const accepted = { acceptedLoss: { kind: 'unknown' }, oldServer: 'destroyed' } as const;
  const earlier = await regional.failover({ epoch: 4, otherSite: metro.asPeer, ...accepted });
  await atPromotion;
  const later = await metro.failover({ epoch: 5, otherSite: regional.asPeer, ...accepted });
  expect((await metro.finished(later)).state).toBe('completed');
  // A hold does not end what cannot be undone any more.
  await regional.standAside('hold', 5);
  expect(await regional.runState(earlier)).toBe('running');
  const word = regional.standAside('promoted', 5);
  await waitFor('the run to end', async () => (await regional.runState(earlier)) === 'failed', { timeoutMs: 10_000 });
  goOn();
  await word;
  expect(await held()).toBe('epoch 5 at the other site');
  expect(await regional.driver.phase(workloadId)).toBe('stopped');
  await regional.until('its door to be closed', ({ frontDoor }) => frontDoor?.leadsTo === 'closed');
  regional.peers.lost.clear();
  metro.peers.lost.clear();
  await regional.until('it to follow', ({ epoch, state }) => epoch === 5 && state === 'streaming');
});
