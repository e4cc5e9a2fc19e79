import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { CareUnderTest } from '../testing/care-under-test.js';
import { StandingCopies } from './standing-copies.js';

let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site?.stop());

const refresh = (archiveId: string, signal = new AbortController().signal) =>
  site.get(StandingCopies).refresh(archiveId, signal);
const standing = async (archiveId: string) =>
  (await site.results<ArchiveReport>('archive.state')).filter((each) => each.archiveId === archiveId).at(-1)?.standing;
const note = async (archiveId: string): Promise<unknown> =>
  JSON.parse(await readFile(path.join(site.directory, 'standing', `${archiveId}.json`), 'utf8'));

test('files that are being laid out are no recovery point, and say so, until they are one', async () => {
  const archiveId = await site.archive();
  const folder = await site.folder({ permit: 'the first' });
  const first = await site.backup(archiveId, folder);
  await refresh(archiveId);
  const whole = await standing(archiveId);
  expect(whole).toMatchObject({ snapshotId: first, layingOut: null, receivedAt: expect.any(String) as string });
  expect(await note(archiveId)).toMatchObject({ state: 'whole', snapshotId: first, receivedAt: whole?.receivedAt });

  await writeFile(path.join(folder, 'permit'), 'the second');
  const second = await site.backup(archiveId, folder);
  await expect(refresh(archiveId, AbortSignal.abort(new Error('the site stops')))).rejects.toThrow();
  const broken = { snapshotId: null, receivedAt: null, restoredAt: null, layingOut: second };
  expect(await standing(archiveId)).toMatchObject(broken);
  expect(await note(archiveId)).toMatchObject({ state: 'being laid out', snapshotId: second });

  await refresh(archiveId);
  expect(await standing(archiveId)).toMatchObject({ snapshotId: second, layingOut: null });
  expect(await note(archiveId)).toMatchObject({ state: 'whole', snapshotId: second });
  expect(await readFile(path.join(whole?.path ?? '', 'permit'), 'utf8')).toBe('the second');
});

test('files are laid out once at a time, whoever asks meanwhile', async () => {
  const archiveId = await site.archive();
  const snapshotId = await site.backup(archiveId, await site.folder({ permit: 'a permit' }));
  await Promise.all([refresh(archiveId), refresh(archiveId)]);
  const told = (await site.results<ArchiveReport>('archive.state')).filter((each) => each.archiveId === archiveId);
  expect(told.filter(({ standing: files }) => files?.layingOut === snapshotId)).toHaveLength(1);
  expect(await standing(archiveId)).toMatchObject({ snapshotId, layingOut: null });
});

test('what there is no room for changes nothing of the files, and is told', async () => {
  const archiveId = await site.archive();
  const huge = await site.backup(archiveId, await site.folder({ permit: 'a permit' }));
  await site.rows(`UPDATE archive_point SET bytes = $2 WHERE snapshot_id = $1`, [huge, 2 ** 50]);
  await refresh(archiveId);
  const failure = { code: 'archive.no-room' };
  expect(await standing(archiveId)).toMatchObject({ snapshotId: null, layingOut: null, failure });
  await site.rows(`UPDATE archive SET policy = policy || '{"standingCopy": false}' WHERE archive_id = $1`, [archiveId]);
  await refresh(archiveId);
  expect(await standing(archiveId)).toBeNull();
  await expect(note(archiveId)).rejects.toThrow('ENOENT');
});
