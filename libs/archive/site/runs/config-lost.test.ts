import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VaultRepositories, VaultService } from '../index.js';
import { BringingBack } from '../retention/bringing-back.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { AgentWorks } from './agent-works.js';

let site: CareUnderTest;
beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

/** The next run of a customer-held archive, as far as it comes: no agent is there. */
async function run(archiveId: string): Promise<void> {
  const works = site.get(AgentWorks);
  const archive = { archiveId, agentId: randomUUID(), workloadId: randomUUID(), workloadName: 'records' };
  const work = { kind: 'backup', excludes: [], bandwidthBytesPerSecond: null } as never;
  const credential = await works.credential(archiveId, 'append');
  await works.begin({ ...archive, keyMode: 'customer-held' }, randomUUID(), work, credential);
}
/** As a thief's client removes, who has a lease. */
async function remove(archiveId: string): Promise<void> {
  const { objects, removed } = site.get(VaultService);
  await removed.layAside(archiveId, { type: 'config' }, new Date());
  for (const type of ['snapshots', 'index', 'data'] as const) {
    for await (const { id } of objects.list(archiveId, type))
      await removed.layAside(archiveId, { type, id }, new Date());
  }
}
const LOST = { code: 'vault.config-lost' };

test('all that was removed, the config too, outlives the next run, and comes back whole', async () => {
  const archiveId = await site.archive();
  const point = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const [row] = await site.rows<{ id: string }>(`SELECT tenant_id AS id FROM archive WHERE archive_id = $1`, [
    archiveId,
  ]);
  await remove(archiveId);
  // Also where nothing else is known of it.
  await site.rows(`DELETE FROM archive_point WHERE archive_id = $1`, [archiveId]);
  await site.rows(`DELETE FROM vault_snapshot WHERE repository_id = $1`, [archiveId]);
  await expect(run(archiveId)).rejects.toMatchObject(LOST);
  await site.get(BringingBack).bringBack(archiveId, row?.id ?? '', new Date(0));
  expect((await site.objects(archiveId, 'snapshots')).map(({ id }) => id)).toEqual([point]);
  await site.check(archiveId);
});

test.each(['archive_point', 'vault_snapshot'])('what %s knows a recovery point of is not cleared', async (table) => {
  const archiveId = await site.archive();
  await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  await remove(archiveId);
  await site.get(VaultService).removed.discardBefore(archiveId, new Date(Date.now() + 1_000));
  const [other, id] = table === 'archive_point' ? ['vault_snapshot', 'repository_id'] : ['archive_point', 'archive_id'];
  await site.rows(`DELETE FROM ${other} WHERE ${id} = $1`, [archiveId]);
  await expect(run(archiveId)).rejects.toMatchObject(LOST);
  expect(await site.objects(archiveId, 'keys')).toHaveLength(1);
});

test('what is held is not cleared; a repository that was never made is', async () => {
  const archiveId = await site.archive();
  const { removed } = site.get(VaultService);
  await removed.layAside(archiveId, { type: 'config' }, new Date());
  await removed.discardBefore(archiveId, new Date(Date.now() + 1_000));
  await site.get(VaultRepositories).hold(archiveId, 'litigation');
  await expect(run(archiveId)).rejects.toMatchObject(LOST);
  expect(await site.objects(archiveId, 'keys')).toHaveLength(1);
  await site.get(VaultRepositories).hold(archiveId, null);
  await expect(run(archiveId)).rejects.toThrow('nobody is there');
  await expect(site.objects(archiveId, 'keys')).rejects.toThrow('ENOENT');
});
