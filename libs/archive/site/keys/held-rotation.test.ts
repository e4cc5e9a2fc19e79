import { execFile } from 'node:child_process';
import { access, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allowExitOrder, rotateKeysOrder } from '#contracts/archive';
import { CustomerKey, findRestic, readExit } from '#libs/archive/agent';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { VaultService } from '../vault/vault.module.js';

const run = promisify(execFile);
const SOON = { timeoutMs: 55_000, everyMs: 100 };
const NAME = 'own';
/** Where restic is killed, as the agent changes its key: by the words of its command. */
const MOMENTS = [
  { at: 'before the new key is there', words: ' key add ', first: false },
  { at: 'once it is there', words: ' key add ', first: true },
  { at: 'while it is tried', words: 'new-password --cache', first: false },
] as const;
let site: ArchiveSite;
let agent: AgentUnderTest;
let archive: KnownArchive;
let home: string;

const once = () => path.join(home, 'once');
const repository = () => path.join(site.home.directory, 'archive', 'vault', archive.archiveId);
const keys = () => readdir(path.join(repository(), 'keys'));
const held = async () => (await new CustomerKey(agent.state, NAME).read())!;
const opens = (password: string) =>
  run('restic', ['-r', repository(), '--no-lock', '--no-cache', 'cat', 'config'], {
    env: childEnvironment({ RESTIC_PASSWORD: password, HOME: home }),
  }).then(
    () => true,
    () => false,
  );
async function rotated(rotationId: string): Promise<void> {
  const { archiveId, workloadId } = archive;
  const [before] = await site.rows<{ at: Date | null }>(`SELECT keys_rotated_at AS at FROM archive`);
  await site.order(rotateKeysOrder, { archiveId, workloadId, rotationId });
  await site.state(archive, ({ keysRotatedAt: at }) => at !== null && Date.parse(at) > (before?.at?.getTime() ?? 0));
}

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-held-rotation-'));
  await writeFile(path.join(home, 'permit'), 'a permit');
  const { file } = await findRestic(undefined);
  const dying = MOMENTS.map(
    ({ at, words, first }) =>
      `case " $* " in *"${words}"*) if [ "$(cat ${once()} 2>/dev/null)" = "${at}" ]; then rm ${once()}\n` +
      `${first ? `"${file}" "$@"\n` : ''}kill -9 $$; fi;; esac`,
  );
  const restic = path.join(home, 'restic');
  await writeFile(restic, ['#!/bin/sh', ...dying, `exec "${file}" "$@"`].join('\n'), { mode: 0o755 });
  agent = await AgentUnderTest.start([{ name: NAME, kind: 'files', paths: [path.join(home, 'permit')] }], { restic });
  site = await ArchiveSite.start();
  archive = await site.archive(site.tunnel.connect(agent), NAME, { keyMode: 'customer-held', paused: true });
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

test.each(MOMENTS)(
  'killed $at, what the agent has on its disk opens the archive, and the next try ends it',
  async ({ at }) => {
    const before = await held();
    const { archiveId, workloadId } = archive;
    const rotationId = randomUUID();
    await writeFile(once(), at);
    await site.order(rotateKeysOrder, { archiveId, workloadId, rotationId });
    const gone = () =>
      access(once()).then(
        () => false,
        () => true,
      );
    await waitFor('the death', gone, SOON);
    await waitFor(
      'the failure',
      async () => {
        const rows = await site.rows(`SELECT FROM archive WHERE failure->>'code' = 'archive.restic-failed'`);
        return rows.length > 0;
      },
      SOON,
    );
    expect(await held()).toEqual(before);
    expect(await opens(before.password)).toBe(true);
    await rotated(rotationId);
    const after = await held();
    expect(after.password).not.toBe(before.password);
    expect([await opens(after.password), await opens(before.password)]).toEqual([true, false]);
    expect(await keys()).toEqual([after.key]);
  },
);

test('asked again, as by a site that was killed before it removed the others, it is the same password', async () => {
  const rotationId = randomUUID();
  await rotated(rotationId);
  const { password, key } = await held();
  const thief = path.join(home, 'thief');
  await writeFile(thief, 'mine now');
  const add = ['-r', repository(), '--no-cache', 'key', 'add', '--new-password-file', thief];
  await run('restic', add, { env: childEnvironment({ RESTIC_PASSWORD: password, HOME: home }) });
  expect(await keys()).toHaveLength(2);
  await rotated(rotationId);
  expect(await held()).toMatchObject({ password, key });
  expect(await keys()).toEqual([key]);
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed', failure: null });
  expect(await site.rows(`SELECT FROM archive_key WHERE retired_at IS NULL OR sealed <> ''`)).toEqual([]);
});

test('the way out that was handed over with the old password is over', async () => {
  const { archiveId, workloadId } = archive;
  const until = new Date(Date.now() + 3_600_000).toISOString();
  await site.order(allowExitOrder, { archiveId, workloadId, exitId: randomUUID(), until });
  await waitFor('the way out', () => readExit(agent.state, NAME), SOON);
  await rotated(randomUUID());
  expect(await readExit(agent.state, NAME)).toBeUndefined();
});

test('a machine that burns before the new password is in the safe has not lost the archive: the old key can come back', async () => {
  const { password } = await held();
  const since = new Date();
  await rotated(randomUUID());
  expect(await opens(password)).toBe(false);
  await site.get(VaultService).removed.bringBack(archive.archiveId, since);
  expect(await opens(password)).toBe(true);
});
