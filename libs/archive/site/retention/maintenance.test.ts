import { randomBytes, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { dropResult } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { DropPointHandler, HoldPointHandler } from '../orders/point.orders.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { VaultRepositories } from '../index.js';
import { Maintenance } from './maintenance.js';
import { RetentionService } from './retention.service.js';

type DropReport = z.infer<typeof dropResult.payload>;
const signal = new AbortController().signal;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

const tend = (archiveId: string) => site.get(RetentionService).tend(archiveId, signal);
const present = async (archiveId: string) => (await site.objects(archiveId, 'snapshots')).map(({ id }) => id).sort();
const folder = (bytes = 300_000) => site.folder({ file: randomBytes(bytes) });
const bytesOf = async (archiveId: string) => {
  const files = await site.objects(archiveId, 'data');
  return (await Promise.all(files.map(async ({ path }) => (await readFile(path)).length))).reduce((a, b) => a + b, 0);
};
const refs = async (archiveId: string) => {
  const [row] = await site.rows<{ workloadId: string; tenantId: string }>(
    `SELECT workload_id AS "workloadId", tenant_id AS "tenantId" FROM archive WHERE archive_id = $1`,
    [archiveId],
  );
  return { archiveId, workloadId: row?.workloadId ?? '', tenantId: row?.tenantId ?? '' };
};
const order = <P extends { readonly tenantId: string }>({ tenantId, ...payload }: P) => {
  return { id: randomUUID(), number: 1, tenantId, payload };
};
const hold = async (archiveId: string, snapshotId: string, because: string | null) =>
  site.get(HoldPointHandler).carryOut(order({ ...(await refs(archiveId)), snapshotId, because }));
const drop = async (archiveId: string, snapshotId: string) => {
  const dropId = randomUUID();
  const wish = { ...(await refs(archiveId)), snapshotId, dropId, asked: 'a clerk', approved: 'another' };
  await site.get(DropPointHandler).carryOut(order(wish));
  await tend(archiveId);
  return (await site.results<DropReport>('archive.drop')).find((report) => report.dropId === dropId);
};

test('a prune that was killed goes on another time, and nothing is lost', async () => {
  const archiveId = await site.archive();
  for (let run = 0; run < 12; run += 1) await site.backup(archiveId, await folder(200_000));
  await site.age(archiveId, 3);
  const last = await site.backup(archiveId, await folder());
  const tending = tend(archiveId).then(
    () => 'ended',
    () => 'broke off',
  );
  const pid = await waitFor('the prune', () => resticOf(archiveId, 'prune'), { timeoutMs: 20_000, everyMs: 2 });
  process.kill(pid, 'SIGKILL');
  expect(await tending).toBe('broke off');
  await site.check(archiveId);
  await tend(archiveId);
  expect(await present(archiveId)).toEqual([last]);
  await site.check(archiveId);
  expect(await bytesOf(archiveId)).toBeLessThan(400_000);
});

test('a maintenance lease of a killed process ends at the next start, and keeps no client out', async () => {
  const archiveId = await site.archive();
  const repositories = site.get(VaultRepositories);
  const dead = await repositories.issue(archiveId, 'maintain');
  await repositories.maintain(archiveId, dead.credentialId, 600);
  await site.get(Maintenance).onModuleInit();
  await expect(repositories.maintain(archiveId, dead.credentialId, 600)).rejects.toMatchObject({
    code: 'credential.not-found',
  });
  await site.backup(archiveId, await folder());
});

describe('two people who want a point gone', () => {
  test('get it once it has its minimum age, and unless it is held', async () => {
    const archiveId = await site.archive();
    const first = await site.backup(archiveId, await folder());
    const young = await drop(archiveId, first);
    expect(young).toMatchObject({ state: 'retained', failure: { code: 'archive.retained' } });
    await site.age(archiveId, 2);
    await hold(archiveId, first, 'litigation 22-114');
    expect(await drop(archiveId, first)).toMatchObject({ state: 'retained' });
    await hold(archiveId, first, null);
    expect(await drop(archiveId, first)).toMatchObject({ state: 'done', failure: null });
    expect(await present(archiveId)).toEqual([]);
    expect(await drop(archiveId, randomBytes(32).toString('hex'))).toMatchObject({ state: 'failed' });
    const told = await site.results<{ snapshotId: string; forgottenBecause: string }>('archive.point');
    expect(told.filter(({ snapshotId }) => snapshotId === first).at(-1)?.forgottenBecause).toBe('two-people');
  });
});

/** The restic that runs this command on the archive's repository now. */
async function resticOf(archiveId: string, command: string): Promise<number | undefined> {
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!words.includes(`restic\0${command}\0`)) continue;
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(archiveId)) return Number(pid);
  }
  return undefined;
}
