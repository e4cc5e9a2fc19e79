import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { archiveUsageResult, askFile, askTree, keyUseResult, restoreOrder, restoreResult } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { Readers } from '../retention/readers.js';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';

const SOON = { timeoutMs: 55_000, everyMs: 100 };
const NAME = 'share';
let site: ArchiveSite;
let agent: AgentUnderTest;
let agentId: string;
let home: string;
let share: string;
let archive: KnownArchive;

const at = (...parts: string[]) => path.join(share, ...parts);

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-share-'));
  share = path.join(home, 'share');
  await mkdir(at('permits'), { recursive: true });
  await writeFile(at('permits', 'one.txt'), 'permit one');
  await writeFile(at('large'), randomBytes(3 * 2 ** 20));
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [share] }], { restoreTo: [home] });
  site = await ArchiveSite.start();
  agentId = site.tunnel.connect(agent);
  archive = await site.archive(agentId, NAME);
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});
test('lays the newest point out at the site, as files that are nobody’s', async () => {
  const { standing } = await site.state(archive, (report) => Boolean(report.standing?.restoredAt));
  const laid = path.join(standing?.path ?? '', share);
  expect(await readFile(path.join(laid, 'permits', 'one.txt'), 'utf8')).toBe('permit one');
  await writeFile(at('permits', 'two.txt'), 'permit two');
  await rm(at('permits', 'one.txt'));
  const run = await site.ended(await site.request(archive));
  expect(run).toMatchObject({ state: 'completed', cause: 'request', summary: { filesNew: 1, filesRemoved: 1 } });
  await site.state(archive, (report) => report.standing?.snapshotId === run.snapshotIds[0]);
  expect(await readFile(path.join(laid, 'permits', 'two.txt'), 'utf8')).toBe('permit two');
  await expect(readFile(path.join(laid, 'permits', 'one.txt'))).rejects.toThrow('ENOENT');
});

test('answers what lies in a point, a page at a time, and hands one file out', async () => {
  const point = (await site.points(archive)).at(-1)?.snapshotId ?? '';
  const { archiveId, workloadId } = archive;
  const of = { archiveId, workloadId, snapshotId: point };
  const first = await site.ask(askTree, { ...of, path: share, after: null, limit: 1 });
  expect(first).toMatchObject({ json: { entries: [{ name: 'large', type: 'file', bytes: 3 * 2 ** 20 }], more: true } });
  const second = await site.ask(askTree, { ...of, path: `${share}/`, after: 'large', limit: 1 });
  expect(second).toMatchObject({ json: { entries: [{ name: 'permits', type: 'dir' }], more: false } });
  const answer = await site.ask(askFile, { ...of, path: at('permits', 'two.txt') });
  if (!('bytes' in answer)) throw new Error('no bytes');
  expect(answer.bytes.length).toBe(10);
  expect((await buffer(answer.bytes.stream)).toString()).toBe('permit two');
  for (const wrong of [at('permits'), at('nowhere')]) {
    await expect(site.ask(askFile, { ...of, path: wrong })).rejects.toMatchObject({ code: 'file.not-found' });
  }
  await expect(site.ask(askTree, { ...of, path: at('large'), after: null, limit: 9 })).rejects.toMatchObject({
    code: 'folder.not-found',
  });
  await expect(site.ask(askTree, { ...of, path: '/', after: null, limit: 9 }, randomUUID())).rejects.toMatchObject({
    code: 'recovery-point.not-found',
  });
});

test('while the archive is pruned a look is asked to come again, and a file that is read keeps prune waiting', async () => {
  const { archiveId, workloadId } = archive;
  const of = { archiveId, workloadId, snapshotId: (await site.points(archive)).at(-1)?.snapshotId ?? '' };
  const readers = site.get(Readers);
  const busy = { code: 'archive.busy', kind: 'unavailable' };
  const file = () => site.ask(askFile, { ...of, path: at('large') });
  await readers.alone(archiveId, async () => {
    await expect(site.ask(askTree, { ...of, path: share, after: null, limit: 1 })).rejects.toMatchObject(busy);
    await expect(file()).rejects.toMatchObject(busy);
  });
  const prune = () => readers.alone(archiveId, () => Promise.resolve('pruned'));
  const answer = await file();
  if (!('bytes' in answer)) throw new Error('no bytes');
  expect(await prune()).toBeUndefined();
  await buffer(answer.bytes.stream);
  await waitFor('the reader to leave', async () => (await prune()) === 'pruned', SOON);
});

test('brings a folder back to the agent’s machine, and counts it', async () => {
  await site.ended(await site.request(archive));
  const point = (await site.points(archive)).at(-1)?.snapshotId ?? '';
  await rm(at('permits'), { recursive: true });
  const { archiveId, workloadId } = archive;
  const restoreId = randomUUID();
  await site.order(restoreOrder, {
    archiveId,
    workloadId,
    restoreId,
    snapshotId: point,
    paths: [at('permits')],
    target: { kind: 'original' },
    overwrite: 'never',
  });
  const restore = await waitFor(
    'the restore',
    async () => (await site.results(restoreResult)).find((each) => each.restoreId === restoreId && each.endedAt),
    SOON,
  );
  expect(restore).toMatchObject({ state: 'completed', failure: null });
  expect(await readFile(at('permits', 'two.txt'), 'utf8')).toBe('permit two');
  const usage = await site.results(archiveUsageResult);
  expect(usage.filter(({ kind }) => kind === 'archive.restored-bytes')).toHaveLength(1);
});

test('a point that is not there is not restored, and people are told why', async () => {
  const restoreId = randomUUID();
  const { archiveId, workloadId } = archive;
  await site.order(restoreOrder, {
    archiveId,
    workloadId,
    restoreId,
    snapshotId: '0'.repeat(64),
    paths: [],
    target: { kind: 'original' },
    overwrite: 'never',
  });
  const told = await waitFor(
    'the refusal',
    async () => (await site.results(restoreResult)).find((each) => each.restoreId === restoreId),
    SOON,
  );
  expect(told).toMatchObject({ state: 'failed', failure: { code: 'recovery-point.not-found' } });
});

test('each use of a password is told, with what it was for', async () => {
  const purposes = new Set((await site.results(keyUseResult)).map(({ purpose }) => purpose));
  expect(purposes).toContain('making the repository');
  expect(purposes).toContain('backup by the agent');
  expect(purposes).toContain('restore by the agent');
  expect(purposes).toContain('looking into a recovery point');
});
