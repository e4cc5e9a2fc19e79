import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PointReport } from '#contracts/archive';
import { findPostgres, serverIdentity } from '#libs/platform/postgres';
import { CareUnderTest } from '../testing/care-under-test.js';
import { ProofQueue } from './proof-queue.js';
import { ProofScratch } from './proof-scratch.js';
import { ProofService } from './proof.service.js';
import { ScratchPostgres } from './scratch-postgres.js';

const run = promisify(execFile);
const signal = new AbortController().signal;
let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(async () => {
  await site?.stop();
});

const prove = () => site.get(ProofService).proveNext(signal);
const proofOf = async (snapshotId: string) =>
  (await site.results<PointReport>('archive.point')).filter((point) => point.snapshotId === snapshotId).at(-1)?.proof;
/** What is left to prove is none of the next test's. */
const rest = () => site.rows(`UPDATE archive_point SET proof_state = 'proven' WHERE proof_state = 'never'`);
const scratch = () => readdir(path.join(site.directory, 'proof'));

describe('files', () => {
  test('are restored, compared by name, size and hash, and the time is kept; the scratch is empty again', async () => {
    const archiveId = await site.archive();
    const folder = await site.folder({ 'permits/a.txt': 'a permit', 'permits/ü \n.txt': 'odd', empty: '' });
    await symlink('/etc/passwd', path.join(folder, 'link'));
    await mkdir(path.join(folder, 'nothing'));
    await run('mkfifo', [path.join(folder, 'pipe')]);
    if (process.getuid?.() === 0) await run('mknod', [path.join(folder, 'device'), 'c', '1', '3']);
    const older = await site.backup(archiveId, folder);
    await writeFile(path.join(folder, 'new'), 'new');
    const newer = await site.backup(archiveId, folder);
    expect(await prove()).toBe(true);
    expect(await proofOf(older)).toBeUndefined();
    const proof = await proofOf(newer);
    expect(proof).toMatchObject({ state: 'proven', failure: null });
    expect(proof?.seconds).toBeGreaterThan(0);
    expect(proof?.checks[0]?.found).toMatch(/^4 files with 14 bytes/);
    expect(await prove()).toBe(true);
    expect(await proofOf(older)).toMatchObject({ state: 'proven' });
    expect(await prove()).toBe(false);
    expect(await scratch()).toEqual([]);
  });

  test('that are damaged in the vault fail their proof at once, by the name of what is damaged', async () => {
    const archiveId = await site.archive();
    const only = await site.backup(archiveId, await site.folder({ file: randomBytes(200_000) }));
    for (const { path: file, receivedAt } of await site.objects(archiveId, 'data')) {
      const bytes = await readFile(file);
      bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100);
      await writeFile(file, bytes);
      // Received an hour and more ago: the vault hashes it again.
      const then = new Date(receivedAt.getTime() - 7_200_000);
      await utimes(file, then, then);
    }
    expect(await prove()).toBe(true);
    expect(await proofOf(only)).toMatchObject({ state: 'failed', failure: { code: 'archive.damaged' } });
    await rest();
  });

  test('of an agency that alone has the key are never restored here', async () => {
    const archiveId = await site.archive({ keyMode: 'customer-held' });
    await site.rows(
      `INSERT INTO vault_snapshot (repository_id, snapshot_id, received_at, credential_id) VALUES ($1, $2, now(), $1)`,
      [archiveId, 'a'.repeat(64)],
    );
    await site.rows(
      `INSERT INTO archive_point (archive_id, snapshot_id, received_at, claimed_at, proof, proof_state)
       VALUES ($1, $2, now(), now(), '{"state":"not-possible"}', 'not-possible')`,
      [archiveId, 'a'.repeat(64)],
    );
    expect(await prove()).toBe(false);
  });
});

test('a proof whose end could not be written down is begun anew, without a restart', async () => {
  const archiveId = await site.archive();
  const point = await site.backup(archiveId, await site.folder({ file: 'text' }));
  expect(await site.get(ProofQueue).take()).toMatchObject({ snapshotId: point });
  expect(await site.get(ProofQueue).waits()).toBe(true);
  expect(await prove()).toBe(true);
  expect(await proofOf(point)).toMatchObject({ state: 'proven' });
});

test('what a killed process left of its proofs is ended and cleared at the next start', async () => {
  const folder = path.join(site.directory, 'proof', randomUUID());
  await mkdir(folder, { recursive: true, mode: 0o711 });
  const identity = await site.get(ProofScratch).identity(folder);
  const { majorVersion } = await findPostgres();
  expect((await serverIdentity()).name).not.toBe('');
  const left = await ScratchPostgres.start(folder, majorVersion, identity);
  await site.get(ProofScratch).onApplicationBootstrap();
  await expect(left.connect('postgres')).rejects.toThrow();
  expect(await scratch()).toEqual([]);
});

test('a server whose answers are larger than any that is needed is cut off, and nothing else ends', async () => {
  const large = `SELECT repeat('x', 40000000)`;
  await site.get(ProofScratch).with(1, async (folder) => {
    const identity = await site.get(ProofScratch).identity(folder);
    const { majorVersion } = await findPostgres();
    const server = await ScratchPostgres.start(folder, majorVersion, identity);
    const client = await server.connect('postgres');
    await expect(client.query(large)).rejects.toThrow();
    await client.end();
    const next = await server.connect('postgres');
    expect((await next.query(`SELECT 1 AS one`)).rows).toEqual([{ one: 1 }]);
    await next.end();
  });
});

test('a proof that died with its process is begun anew, after the others and not at once', async () => {
  const archiveId = await site.archive();
  const only = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  await site.rows(`UPDATE archive_point SET proof_state = 'running' WHERE snapshot_id = $1`, [only]);
  await site.get(ProofQueue).onApplicationBootstrap();
  // People would see it running for hours.
  expect(await proofOf(only)).toMatchObject({ state: 'never', at: expect.any(String) as string });
  expect(await prove()).toBe(false);
  const earlier = JSON.stringify({ at: new Date(Date.now() - 4 * 3_600_000).toISOString() });
  await site.rows(`UPDATE archive_point SET proof = proof || $2::jsonb WHERE snapshot_id = $1`, [only, earlier]);
  expect(await prove()).toBe(true);
  expect(await proofOf(only)).toMatchObject({ state: 'proven' });
});

test('a proof that takes too long has failed, says how long it may take, and others get their turn', async () => {
  const archiveId = await site.archive();
  const other = await site.backup(archiveId, await site.folder({ file: 'a permit' }));
  const slow = await site.backup(archiveId, await site.folder({ file: 'all permits' }));
  expect(await site.get(ProofService).proveNext(signal, AbortSignal.abort())).toBe(true);
  const failure = { code: 'proof.too-long', message: expect.stringContaining('12 hours') as string };
  expect(await proofOf(slow)).toMatchObject({ state: 'failed', failure });
  expect(await prove()).toBe(true);
  expect(await proofOf(other)).toMatchObject({ state: 'proven' });
  expect(await prove()).toBe(false);
  const earlier = JSON.stringify({ at: new Date(Date.now() - 4 * 3_600_000).toISOString() });
  await site.rows(`UPDATE archive_point SET proof = proof || $2::jsonb WHERE snapshot_id = $1`, [slow, earlier]);
  expect(await prove()).toBe(true);
  expect(await proofOf(slow)).toMatchObject({ state: 'proven' });
});

test('what needs more room than there is waits, and says so', async () => {
  await expect(site.get(ProofScratch).with(2 ** 50, () => Promise.resolve())).rejects.toMatchObject({
    code: 'proof.no-room',
  });
});
