import { randomBytes, randomUUID } from 'node:crypto';
import { open, readdir, rename, stat, unlink, utimes } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArchiveReport, PointReport } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { waitFor } from '#libs/platform/clock';
import { VAULT_AUTHORITY } from '../archive-settings.js';
import { Copies } from '../copies/copies.service.js';
import { Points } from '../points/points.service.js';
import { RetentionService } from '../retention/retention.service.js';
import { HoldingAgent } from '../testing/holding-agent.js';
import { TwoSites } from '../testing/two-sites.js';
import { VaultRepositories, VaultService } from '../index.js';
import { WrongObjectError } from '../vault/vault-objects.js';
import { Readable } from 'node:stream';
import { isInPart, nextPart, partsFor } from './check-rota.js';
import { Checks } from './checks.service.js';
import { Damages } from './damages.service.js';

const signal = new AbortController().signal;
const agent = new HoldingAgent();
let sites: TwoSites;

beforeAll(async () => {
  sites = await TwoSites.start(agent);
});
afterAll(() => sites.stop());

/** As a disk does after years: one bit, and no time of change. */
async function flip(file: string): Promise<void> {
  const { size } = await stat(file);
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  const at = Math.floor(size / 2);
  await handle.read(byte, 0, 1, at);
  byte.writeUInt8(byte.readUInt8(0) ^ 1, 0);
  const before = await handle.stat();
  await handle.write(byte, 0, 1, at);
  await handle.utimes(before.atime, before.mtime);
  await handle.close();
}
const report = async () => (await sites.first.results<ArchiveReport>('archive.state')).at(-1);
const check = (archiveId: string) => sites.first.get(Checks).check(archiveId, signal);
const backedUp = async (archiveId: string) =>
  sites.first.backup(archiveId, await sites.first.folder({ file: randomBytes(500_000) }));

describe('the rota', () => {
  test('takes each part in turn, and reads each pack once in a round', () => {
    let at = 0;
    const checked: { part: number; checkedAt: Date }[] = [];
    const order: number[] = [];
    for (let day = 0; day < 14; day += 1) {
      const part = nextPart(7, checked);
      order.push(part);
      checked.splice(0, checked.length, ...checked.filter((each) => each.part !== part), {
        part,
        checkedAt: new Date((at += 1)),
      });
    }
    expect(order).toEqual([1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7]);
    for (let first = 0; first < 256; first += 1) {
      const id = first.toString(16).padStart(2, '0').padEnd(64, '0');
      expect(Array.from({ length: 25 }, (_, part) => part + 1).filter((part) => isInPart(id, part, 25))).toHaveLength(
        1,
      );
    }
    expect([partsFor(1), partsFor(2 ** 31), partsFor(2 ** 40)]).toEqual([1, 7, 25]);
  });
});

describe('a check', () => {
  test('of a sound repository says how much of it was read', async () => {
    const archiveId = await sites.first.archive();
    await backedUp(archiveId);
    expect(await sites.first.get(Checks).due(10)).toContain(archiveId);
    await check(archiveId);
    expect(await report()).toMatchObject({ archiveId, checkedShare: 1, damaged: [] });
    expect(await sites.first.get(Checks).due(10)).not.toContain(archiveId);
  });

  test('names what is damaged where there is no second copy, and says so until it is sound', async () => {
    const archiveId = await sites.first.archive();
    await backedUp(archiveId);
    const [pack] = await sites.first.objects(archiveId, 'data');
    await flip(pack?.path ?? '');
    await check(archiveId);
    expect(await report()).toMatchObject({
      checkedShare: 0,
      damaged: [{ object: `data/${pack?.id}`, repaired: false }],
    });
    await flip(pack?.path ?? '');
    await check(archiveId);
    expect(await report()).toMatchObject({ checkedShare: 1, damaged: [{ repaired: true }] });
  });

  test('repairs what is damaged, or gone, from the second copy, and the repository is whole again', async () => {
    const archiveId = await sites.archive();
    await backedUp(archiveId);
    await sites.first.get(Copies).replicate(archiveId, signal);
    for (const type of ['data', 'index', 'snapshots', 'keys']) {
      const [object] = await sites.first.objects(archiveId, type);
      const before = await stat(object?.path ?? '');
      await flip(object?.path ?? '');
      await check(archiveId);
      const damaged = (await report())?.damaged ?? [];
      expect(damaged.find((each) => each.object === `${type}/${object?.id}`)).toMatchObject({ repaired: true });
      // Repaired, it is as old as it was: no longer, and no shorter retained.
      expect((await stat(object?.path ?? '')).mtime).toEqual(before.mtime);
    }
    const [lost] = await sites.first.objects(archiveId, 'data');
    await unlink(lost?.path ?? '');
    await check(archiveId);
    expect(await report()).toMatchObject({ checkedShare: 1 });
    await sites.first.check(archiveId);
  });

  test('is not waited for: what a restore meets is repaired at once, and the restore goes on', async () => {
    const archiveId = await sites.archive();
    const snapshotId = await backedUp(archiveId);
    await sites.first.get(Copies).replicate(archiveId, signal);
    const packs = await sites.first.objects(archiveId, 'data');
    for (const { path } of packs) {
      await flip(path);
      // The vault has hashed it as it came in, an hour ago.
      await utimes(path, new Date(Date.now() - 7_200_000), new Date(Date.now() - 7_200_000));
    }
    await sites.first.restic(archiveId, 'dump', '--no-lock', snapshotId, '/file');
    const repaired = async () =>
      ((await report())?.damaged.length ?? 0) > 0 && (await report())?.damaged.every((each) => each.repaired);
    await waitFor('the repair to be told', repaired, { timeoutMs: 10_000 });
  });
});

test('a pack that the agent’s check misses comes back from the second copy, and its check is made again', async () => {
  const archiveId = await sites.archive({ keyMode: 'customer-held' });
  const { credentialId, secret } = await sites.first.get(VaultRepositories).issue(archiveId, 'append');
  const url = `https://127.0.0.1:${sites.first.get(VaultService).port}/${archiveId}/`;
  const authority = sites.first.get<string>(VAULT_AUTHORITY as never);
  const access = { repositoryId: archiveId, url, user: credentialId, secret, authority };
  await agent.restic(access, 'init');
  await agent.restic(access, 'backup', await sites.first.folder({ file: randomBytes(500_000) }));
  const [snapshot] = await sites.first.objects(archiveId, 'snapshots');
  const unknown = { files: null, bytes: null, bytesAddedPacked: null, change: null };
  const made = { runId: randomUUID(), part: null, claimedAt: new Date(), clockDiffers: false, ...unknown };
  const point = { archiveId, snapshotId: snapshot?.id ?? '', ...made };
  await sites.first.get(SiteUnitOfWork).run((tx) => sites.first.get(Points).upsert(tx, point));
  await sites.first.get(Copies).replicate(archiveId, signal);
  const [lost] = await sites.first.objects(archiveId, 'data');
  await unlink(lost?.path ?? '');
  await check(archiveId);
  expect((await sites.first.objects(archiveId, 'data')).map(({ id }) => id)).toContain(lost?.id);
  expect(agent.told.filter(({ kind }) => kind === 'check')).toHaveLength(2);
  const [row] = await sites.first.rows(`SELECT failure FROM archive_check WHERE archive_id = $1`, [archiveId]);
  expect(row).toEqual({ failure: null });
});

test('nothing but an object’s own bytes is put in its place', async () => {
  const archiveId = await sites.first.archive();
  await backedUp(archiveId);
  const { objects } = sites.first.get(VaultService);
  const [pack] = await sites.first.objects(archiveId, 'data');
  const name = { type: 'data', id: pack?.id ?? '' } as const;
  await expect(objects.mend(archiveId, name, Readable.from([Buffer.from('other bytes')]))).rejects.toThrow(
    WrongObjectError,
  );
  const endless = function* () {
    for (;;) yield Buffer.alloc(8 * 2 ** 20);
  };
  await expect(objects.mend(archiveId, name, Readable.from(endless()))).rejects.toThrow('no object has more than');
  expect(await readdir(path.join(sites.first.directory, 'vault', '.incoming'))).toEqual([]);
  expect(await objects.look(archiveId, name)).toBe('sound');
  expect(await sites.first.get(Damages).found(archiveId, name)).toBe('sound');
  await sites.first.check(archiveId);
});

test('a second copy’s damaged object is laid aside, and comes again; only then it goes for good', async () => {
  const archiveId = await sites.archive();
  await backedUp(archiveId);
  const replicate = () => sites.first.get(Copies).replicate(archiveId, signal);
  await replicate();
  const [pack] = await sites.second.objects(archiveId, 'data');
  await flip(pack?.path ?? '');
  const check = () => sites.second.get(Checks).checkCopy(archiveId, 1, 1, signal);
  const vault = sites.second.get(VaultService);
  const aside = () => readdir(path.join(sites.second.directory, 'vault', '.laid-aside', archiveId));
  const bytes = await vault.storedBytes(archiveId);
  await check();
  expect((await sites.second.objects(archiveId, 'data')).map(({ id }) => id)).not.toContain(pack?.id);
  // The first site may be gone for good: then a flipped bit is all that is wrong with it.
  expect(await vault.removed.discardBefore(archiveId, new Date(Date.now() + 1_000))).toBe(0);
  expect(await vault.removed.bringBack(archiveId, new Date(0))).toEqual([]);
  expect(await aside()).toMatchObject([expect.stringContaining(pack?.id ?? '')]);
  await replicate();
  expect((await sites.second.objects(archiveId, 'data')).map(({ id }) => id)).toContain(pack?.id);
  await check();
  expect(await aside()).toEqual([]);
  expect(await vault.storedBytes(archiveId)).toBe(bytes);
});

test('a recovery point that the disk has lost comes back from the second copy, and is missing, where there is none, until it is back', async () => {
  const told = async (id: string) =>
    (await sites.first.results<PointReport>('archive.point')).filter(({ snapshotId }) => snapshotId === id).at(-1);
  const kept = path.join(sites.first.directory, 'kept');
  for (const [archiveId, forgottenBecause] of [
    [await sites.archive(), undefined],
    [await sites.first.archive(), 'missing'],
  ] as const) {
    const lost = await backedUp(archiveId);
    if (!forgottenBecause) await sites.first.get(Copies).replicate(archiveId, signal);
    const [snapshot] = await sites.first.objects(archiveId, 'snapshots');
    await rename(snapshot?.path ?? '', kept);
    await sites.first.get(RetentionService).tend(archiveId, signal);
    expect((await told(lost))?.forgottenBecause).toBe(forgottenBecause);
    const there = (await sites.first.objects(archiveId, 'snapshots')).map(({ id }) => id);
    expect(there).toEqual(forgottenBecause ? [] : [lost]);
    if (!forgottenBecause) continue;
    await rename(kept, snapshot?.path ?? '');
    await sites.first.get(RetentionService).tend(archiveId, signal);
    expect((await told(lost))?.forgottenBecause).toBeNull();
  }
});

test('what was damaged and has lawfully gone since is no damage, and is not brought back', async () => {
  const archiveId = await sites.archive();
  const old = await backedUp(archiveId);
  await sites.first.get(Copies).replicate(archiveId, signal);
  const packs = new Set((await sites.first.objects(archiveId, 'data')).map(({ id }) => id));
  await sites.first.age(archiveId, 3);
  await backedUp(archiveId);
  // Packs of the first run that the second does not use: prune takes them away.
  const damaged = (await sites.first.objects(archiveId, 'data')).find(({ id }) => packs.has(id));
  await flip(damaged?.path ?? '');
  sites.cut();
  await check(archiveId);
  expect((await report())?.damaged).toMatchObject([{ object: `data/${damaged?.id}`, repaired: false }]);
  await sites.first.get(RetentionService).tend(archiveId, signal);
  sites.join();
  expect((await sites.first.objects(archiveId)).map(({ id }) => id)).not.toContain(old);
  expect((await sites.first.objects(archiveId)).map(({ id }) => id)).not.toContain(damaged?.id);
  expect((await report())?.damaged).toEqual([]);
  await check(archiveId);
  expect((await sites.first.objects(archiveId)).map(({ id }) => id)).not.toContain(damaged?.id);
});
