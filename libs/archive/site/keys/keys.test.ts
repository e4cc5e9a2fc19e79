import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  allowExitOrder,
  beginWorkCommand,
  handExitCommand,
  type RepositoryAccess,
  rotateKeysOrder,
} from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { ArchiveSite, type KnownArchive } from '#test/archive-site';
import { AgentUnderTest } from '#test/archiving-agent';
import { SiteRestic } from '../restic/site-restic.js';
import { ArchiveKeys } from './archive-keys.js';

const run = promisify(execFile);
const SOON = { timeoutMs: 55_000, everyMs: 100 };
let site: ArchiveSite;
let agent: AgentUnderTest;
let agentId: string;
let home: string;
let share: string;
let archive: KnownArchive;
/** What the agent was given, newest last. */
const given: RepositoryAccess[] = [];

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-keys-'));
  share = path.join(home, 'share.txt');
  await writeFile(share, 'a permit');
  agent = await AgentUnderTest.start(
    ['share', 'other', 'own'].map((name) => ({ name, kind: 'files', paths: [share] })),
  );
  const carryOut = agent.carryOut.bind(agent);
  agent.carryOut = (command, body) => {
    if (command === beginWorkCommand.path) given.push(beginWorkCommand.input.parse(body).access);
    if (command === handExitCommand.path) given.push(handExitCommand.input.parse(body).access);
    return carryOut(command, body);
  };
  site = await ArchiveSite.start();
  agentId = site.tunnel.connect(agent);
  archive = await site.archive(agentId, 'share', { paused: true });
});
afterAll(async () => {
  await site?.close();
  await agent?.remove();
  await rm(home, { recursive: true, force: true });
});

/** Stock restic with what the agent was given. */
async function restic(access: RepositoryAccess, args: readonly string[], repositoryId = access.repositoryId) {
  const authority = path.join(home, 'authority.pem');
  await writeFile(authority, access.authority ?? '');
  const env = childEnvironment({
    HOME: home,
    RESTIC_PASSWORD: access.password ?? '',
    RESTIC_REST_USERNAME: access.user,
    RESTIC_REST_PASSWORD: access.secret,
  });
  const address = `rest:${access.url.replace(access.repositoryId, repositoryId)}`;
  return run('restic', ['-r', address, '--no-cache', '--no-lock', '--cacert', authority, ...args], { env });
}

const exit = async (known: KnownArchive): Promise<RepositoryAccess> => {
  const count = given.length;
  const until = new Date(Date.now() + 3_600_000).toISOString();
  const { archiveId, workloadId } = known;
  await site.order(allowExitOrder, { archiveId, workloadId, exitId: randomUUID(), until });
  await waitFor('the way out', () => given.length > count, SOON);
  return given.at(-1)!;
};

test('the way out: a credential that reads, a password that opens, and stock restic', async () => {
  await site.ended(await site.request(archive));
  const access = await exit(archive);
  const { stdout } = await restic(access, ['dump', 'latest', share]);
  expect(stdout).toBe('a permit');
  await expect(restic(access, ['backup', share])).rejects.toThrow(/403|may not|not allowed|Forbidden/i);
});

test('a stolen append credential reads no other repository, and says no more than that it is wrong', async () => {
  const other = await site.archive(agentId, 'other', { paused: true });
  const begun = waitFor('the begin', () => given.some(({ repositoryId }) => repositoryId === other.archiveId), SOON);
  const ending = site.ended(await site.request(other));
  await begun;
  const stolen = given.findLast(({ repositoryId }) => repositoryId === other.archiveId)!;
  const headers = { authorization: `Basic ${Buffer.from(`${stolen.user}:${stolen.secret}`).toString('base64')}` };
  const status = async (repositoryId: string) => {
    const url = `${stolen.url.replace(stolen.repositoryId, repositoryId)}config`;
    const config = ['-s', '-o', '/dev/null', '-w', '%{http_code}', '--cacert', path.join(home, 'authority.pem')];
    return (await run('curl', [...config, '-H', `Authorization: ${headers.authorization}`, url])).stdout;
  };
  expect(await status(archive.archiveId)).toBe('401');
  expect(await status(randomUUID())).toBe('401');
  await ending;
});

test('after a rotation neither an old password nor a key that somebody added opens anything', async () => {
  const before = await exit(archive);
  await restic(before, ['cat', 'config']);
  const { archiveId, workloadId } = archive;
  // Somebody who has got at the password has added a key of his own.
  await site.get(SiteRestic).run(archiveId, ['key', 'add', '--new-password-file', 'thief'], {
    role: 'append',
    purpose: 'a thief',
    signal: new AbortController().signal,
    files: { thief: 'mine now' },
  });
  const rotationId = randomUUID();
  await site.order(rotateKeysOrder, { archiveId, workloadId, rotationId });
  const told = await site.state(archive, ({ keysRotatedAt }) => keysRotatedAt !== null);
  expect(told.keysRotatedAt).not.toBeNull();
  for (const password of [before.password, 'mine now']) {
    await expect(restic({ ...before, password }, ['cat', 'config'])).rejects.toThrow(/wrong password or no key found/);
  }
  const after = await exit(archive);
  expect(after.password).not.toBe(before.password);
  expect((await restic(after, ['dump', 'latest', share])).stdout).toBe('a permit');
  // The same order once more, as after a crash at its end.
  await site.order(rotateKeysOrder, { archiveId, workloadId, rotationId });
  await site.state(archive, ({ keysRotatedAt }) => keysRotatedAt !== null && keysRotatedAt !== told.keysRotatedAt);
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
  const keys = await readdir(path.join(site.home.directory, 'archive', 'vault', archiveId, 'keys'));
  expect(keys).toHaveLength(2);
});

test('the database holds passwords only sealed, and under a new key-encryption key those seal as well', async () => {
  const passwords = new Set(given.flatMap(({ password }) => (password === null ? [] : [password])));
  passwords.add(await site.get(ArchiveKeys).open(archive.archiveId, 'site', 'a test'));
  const secrets = [...passwords, ...given.map(({ secret }) => secret)];
  const everything = async () => {
    const tables = await site.rows<{ name: string }>(
      `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
    );
    const texts = await Promise.all(
      tables.map(({ name }) => site.rows<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)),
    );
    return texts.flat().map(({ row }) => row);
  };
  const hidden = (rows: readonly string[]) => {
    const text = rows.join('\n');
    for (const secret of secrets) {
      expect(text.includes(secret)).toBe(false);
      expect(text.includes(Buffer.from(secret).toString('hex'))).toBe(false);
    }
  };
  hidden(await everything());
  const kekFile = path.join(home, 'new-kek');
  await writeFile(kekFile, randomBytes(32));
  const old = path.join(site.home.directory, 'archive', 'kek');
  const sealedBy = () =>
    site.rows<{ by: string }>(`SELECT DISTINCT sealed_by AS by FROM archive_key WHERE retired_at IS NULL`);
  const [before] = await sealedBy();
  await site.stop();
  await site.run(true, { kekFile, oldKekFiles: [old] });
  const [after, ...others] = await sealedBy();
  expect(others).toEqual([]);
  expect(after?.by).not.toBe(before?.by);
  hidden(await everything());
  await site.stop();
  await rm(old);
  await site.run(true, { kekFile });
  expect(await site.ended(await site.request(archive))).toMatchObject({ state: 'completed' });
});

test('a customer-held archive: the site never has its password, and says what it cannot', async () => {
  const own = await site.archive(agentId, 'own', { keyMode: 'customer-held', paused: true });
  const finished = await site.ended(await site.request(own));
  expect(finished).toMatchObject({ state: 'completed', failure: null });
  expect((await site.points(own))[0]).toMatchObject({ proof: { state: 'not-possible' } });
  expect(given.filter(({ repositoryId }) => repositoryId === own.archiveId).map(({ password }) => password)).toEqual([
    null,
  ]);
  expect(await site.rows(`SELECT FROM archive_key WHERE archive_id = $1`, [own.archiveId])).toEqual([]);
  expect((await readFile(share, 'utf8')).length).toBeGreaterThan(0);
});
