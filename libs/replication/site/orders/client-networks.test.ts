import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { ClientNetworksOrderHandler } from './client-networks.order.js';

const world = new WarmWorld();
const { workloadId, tenantId } = world;
let metro: WarmSite;

beforeAll(async () => {
  await world.openAgency();
  metro = await world.openSite('metro');
});
afterAll(() => world.close());

const networks = () =>
  metro.work.run(async (tx) => {
    const [door] = await tx.query<{ networks: string[] }>(`SELECT client_networks AS networks FROM front_door`);
    return door?.networks;
  });
const list = (clientNetworks: string[], of = workloadId) =>
  metro.app
    .get(ClientNetworksOrderHandler)
    .carryOut({ id: randomUUID(), number: 1_000, tenantId, payload: { workloadId: of, clientNetworks } });

test('a new front door is closed; orders open it, and one of before that says nothing leaves it as it is', async () => {
  await metro.protect();
  expect(await networks()).toEqual([]);
  await metro.protect({ clientNetworks: ['10.20.0.0/16'] });
  expect(await networks()).toEqual(['10.20.0.0/16']);
  await metro.protect();
  expect(await networks()).toEqual(['10.20.0.0/16']);
  await list(['2001:db8::/48']);
  await list(['0.0.0.0/0'], randomUUID());
  expect(await networks()).toEqual(['2001:db8::/48']);
  await metro.protect({ clientNetworks: [] });
  expect(await networks()).toEqual([]);
});
