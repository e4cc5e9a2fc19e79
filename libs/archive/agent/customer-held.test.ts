import { randomUUID } from 'node:crypto';
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { handExitCommand, listTreeCommand } from '#contracts/archive';
import {
  AgentUnderTest,
  backupOf,
  restoreOf,
  secureVault,
  TestArchive,
  type TestAuthority,
} from '#test/archiving-agent';
import { CustomerKey } from './customer-key.js';
import { readExit } from './exit.js';

const NAME = 'share';
const LARGE = 2 ** 20;
let place: TestAuthority;
let home: string;
let agent: AgentUnderTest;

beforeAll(async () => {
  place = await secureVault();
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-held-'));
  await writeFile(path.join(home, 'large'), Buffer.alloc(LARGE, 'x'));
  await writeFile(path.join(home, 'small'), 'small');
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
});
afterAll(async () => {
  await agent.remove();
  await place.vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('what only the agency can open is listed, forgotten, checked and taken out at its agent', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  const first = await agent.work(archive, NAME, backupOf('files'));
  await appendFile(path.join(home, 'small'), ' change');
  const second = await agent.work(archive, NAME, backupOf('files'));
  const [older = '', newer = ''] = [first, second].map(({ snapshots }) => snapshots[0]!.id);
  const about = { workloadId: archive.workloadId, workloadName: NAME };
  const page = (after: string | null, limit: number) =>
    agent.ask(listTreeCommand, { ...about, access: archive.access, snapshotId: newer, path: home, after, limit });
  expect(await page(null, 1)).toMatchObject({
    more: true,
    entries: [{ name: 'large', type: 'file', bytes: LARGE }],
  });
  expect(await page('large', 1)).toMatchObject({ more: false, entries: [{ name: 'small' }] });
  expect(await agent.work(archive, NAME, { kind: 'check', part: 1, of: 1 })).toMatchObject({ state: 'completed' });

  const refused = await agent.work(archive, NAME, { kind: 'forget', snapshotIds: [older] });
  expect(refused).toMatchObject({ state: 'failed', failure: { code: 'archive.vault-refused' } });

  // At the second copy what is retained is no fault.
  const tidied = await agent.work(archive, NAME, { kind: 'forget', snapshotIds: [older], ofCopy: true });
  expect(tidied).toMatchObject({ state: 'completed', failure: null });

  const until = new Date(Date.now() + 3_600_000).toISOString();
  const access = await archive.as('read');
  await agent.ask(handExitCommand, { ...about, exitId: randomUUID(), access, until });
  const exit = await readExit(agent.state, NAME);
  expect(exit?.until).toBe(until);
  expect(exit?.command).not.toContain(access.secret);
  const restored = path.join(agent.state.restored, 'all');
  const back = await agent.work(archive, NAME, restoreOf(newer, { target: { kind: 'folder', path: restored } }), {
    access,
  });
  expect(back).toMatchObject({ state: 'completed', filesRestored: 2 });
  expect(await readFile(path.join(restored, home, 'small'), 'utf8')).toBe('small change');
});

test('a check that the vault does not let be made has found nothing, and one that misses a pack names it', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  // One of its own: with the password of another archive it would have none here.
  const own = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
  try {
    await own.work(archive, NAME, backupOf('files'));
    const check = { kind: 'check', part: 1, of: 1 } as const;
    const access = { ...archive.access, secret: 'over' };
    expect(await own.work(archive, NAME, check, { access })).toMatchObject({
      failure: { code: 'archive.vault-refused' },
    });
    const { repositoryId } = archive.access;
    const { objects, removed } = place.vault.service;
    const packs = [];
    for await (const { id } of objects.list(repositoryId, 'data')) packs.push(id);
    const [id = ''] = packs;
    await removed.layAside(repositoryId, { type: 'data', id }, new Date());
    const { failure } = await own.work(archive, NAME, check);
    expect(failure?.code).toBe('archive.check-failed');
    expect(failure?.message).toContain(`pack ${id}`);
  } finally {
    await own.remove();
  }
});

test('once the agent has the password, none of the site’s is used: neither to look, nor to restore, nor for the way out', async () => {
  const rogue = await TestArchive.open(place, 'escrowed');
  const refused = { state: 'failed', failure: { code: 'archive.key-mode' } };
  for (const work of [
    backupOf('files'),
    restoreOf('0'.repeat(64), { overwrite: 'always' }),
    { kind: 'check' as const, part: 1, of: 1 },
    { kind: 'forget' as const, snapshotIds: [] },
  ]) {
    expect(await agent.work(rogue, NAME, work)).toMatchObject(refused);
  }
  const about = { workloadId: rogue.workloadId, workloadName: NAME, access: rogue.access };
  const listed = agent.ask(listTreeCommand, { ...about, snapshotId: '0'.repeat(64), path: '/', after: null, limit: 1 });
  await expect(listed).rejects.toMatchObject({ code: 'archive.key-mode' });
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const handed = agent.ask(handExitCommand, { ...about, exitId: randomUUID(), until });
  await expect(handed).rejects.toMatchObject({ code: 'archive.key-mode' });
});

test('the way out of the old password is over also where the agent was killed before it ended it; a new one stays', async () => {
  const archive = await TestArchive.open(place, 'customer-held');
  const own = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [home] }]);
  try {
    await own.work(archive, NAME, backupOf('files'));
    const about = { workloadId: archive.workloadId, workloadName: NAME, access: await archive.as('read') };
    const hand = () =>
      own.ask(handExitCommand, {
        ...about,
        exitId: randomUUID(),
        until: new Date(Date.now() + 3_600_000).toISOString(),
      });
    await hand();
    const exit = path.join(path.dirname(new CustomerKey(own.state, NAME).file), 'exit');
    const asKilled = path.join(own.home, 'exit');
    await cp(exit, asKilled, { recursive: true });
    const rotation = { kind: 'rotate', rotationId: randomUUID() } as const;
    expect(await own.work(archive, NAME, rotation)).toMatchObject({ state: 'completed' });
    await cp(asKilled, exit, { recursive: true });
    expect(await own.work(archive, NAME, rotation)).toMatchObject({ state: 'completed' });
    expect(await readExit(own.state, NAME)).toBeUndefined();
    await hand();
    expect(await own.work(archive, NAME, rotation)).toMatchObject({ state: 'completed' });
    expect(await readExit(own.state, NAME)).toBeDefined();
  } finally {
    await own.remove();
  }
});
