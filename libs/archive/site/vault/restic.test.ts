import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAuthority, issueCertificate } from '#libs/link';
import type { IssuedCredential, VaultRole } from '../index.js';
import { idOf, VaultUnderTest } from './testing/vault-under-test.js';

const run = promisify(execFile);
const REFUSED = { status: 403 };
const PASSWORD = 'the repository’s own password';

let vault: VaultUnderTest;
let home: string;
let share: string;
let repository: { readonly id: string; readonly credential: IssuedCredential };

/** Stock restic against the vault, over TLS, with its cache off: what it says, it has read. */
async function restic(as: IssuedCredential, ...words: string[]): Promise<{ stdout: string; stderr: string }> {
  const address = `rest:https://${as.credentialId}:${as.secret}@127.0.0.1:${vault.service.port}/${repository.id}/`;
  const env = { PATH: process.env['PATH'], HOME: home, RESTIC_PASSWORD: PASSWORD, RESTIC_REPOSITORY: address };
  const authority = path.join(home, 'authority.pem');
  return run('restic', ['--no-cache', '--cacert', authority, ...words], { env, maxBuffer: 64 * 2 ** 20 });
}

const credential = (role: VaultRole) => vault.repositories.issue(repository.id, role);
const snapshots = async (as = repository.credential) =>
  JSON.parse((await restic(as, 'snapshots', '--json')).stdout) as { id: string; time: string }[];

beforeAll(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'mainstay-restic-'));
  const authority = await createAuthority('test authority');
  const server = await issueCertificate(authority, {
    commonName: 'vault',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
  });
  await writeFile(path.join(home, 'authority.pem'), authority.certificate);
  vault = await VaultUnderTest.start({ tls: { certificate: server.certificate, key: server.privateKey } });
  repository = await vault.repository('append', { minimumAgeSeconds: 3_600 });
  share = path.join(home, 'share');
  await mkdir(path.join(share, 'permits'), { recursive: true });
  await writeFile(path.join(share, 'large'), randomBytes(40 * 2 ** 20));
  for (let number = 0; number < 300; number += 1) {
    await writeFile(
      path.join(share, 'permits', `${number}.txt`),
      `permit ${number} ${randomBytes(20).toString('hex')}`,
    );
  }
});
afterAll(async () => {
  await vault.stop();
  await rm(home, { recursive: true, force: true });
});

describe('stock restic', () => {
  test('makes a repository, backs up, checks every byte, and restores them all', async () => {
    const as = repository.credential;
    await restic(as, 'init');
    await restic(as, 'backup', share);
    await writeFile(path.join(share, 'permits', 'new.txt'), 'a new permit');
    await restic(as, 'backup', share);
    expect(await snapshots()).toHaveLength(2);
    await restic(as, 'check', '--read-data');
    const target = path.join(home, 'restored');
    await restic(await credential('read'), 'restore', 'latest', '--target', target);
    const { stdout } = await run('diff', ['-r', share, path.join(target, share)]);
    expect(stdout).toBe('');
  });

  test('archives streams, twice the same one, by a credential that reads nothing of what is stored', async () => {
    const as = await credential('write');
    const dump = [
      'backup',
      '--force',
      '--stdin-filename',
      'dump',
      '--stdin-from-command',
      '--',
      'cat',
      path.join(share, 'large'),
    ];
    await restic(as, ...dump);
    await restic(as, ...dump);
    expect(await snapshots(as)).toHaveLength(4);
    await expect(restic(as, 'dump', 'latest', '/dump')).rejects.toThrow(/403|may not|Forbidden/i);
    const { stdout } = await restic(await credential('read'), 'ls', 'latest', '--json');
    expect(stdout).toContain('"path":"/dump"');
  });

  test('opens the vault’s folder itself: the layout is its own', async () => {
    const env = { PATH: process.env['PATH'], HOME: home, RESTIC_PASSWORD: PASSWORD };
    const copy = path.join(home, 'copy');
    await cp(path.join(vault.directory, repository.id), copy, { recursive: true });
    await run('restic', ['-r', copy, '--no-cache', 'check', '--read-data'], { env });
  });

  test('with a stolen append credential takes nothing away, unlocks nobody, and cannot forge a date', async () => {
    const stolen = await credential('append');
    const [first] = await snapshots();
    // By HTTP, since restic 0.14 tries a refused removal again for most of a minute.
    expect(await vault.ask('DELETE', `/${repository.id}/snapshots/${first?.id}`, { as: stolen })).toMatchObject(
      REFUSED,
    );
    const lock = await aLock(repository.credential);
    expect(await vault.ask('DELETE', `/${repository.id}/locks/${lock.id}`, { as: stolen })).toMatchObject(REFUSED);
    const locks = (await restic(stolen, 'list', 'locks', '--no-lock')).stdout;
    expect(locks).toContain(lock.id);
    await lock.release();
    await restic(stolen, 'backup', '--time', '2031-01-01 00:00:00', path.join(share, 'permits'));
    const forged = (await snapshots()).find(({ time }) => time.startsWith('2031'));
    const [row] = await vault.rows<{ seconds: number }>(
      `SELECT extract(epoch FROM now() - received_at)::float8 AS seconds FROM vault_snapshot WHERE snapshot_id = $1`,
      [forged?.id],
    );
    expect(Math.abs(row?.seconds ?? Infinity)).toBeLessThan(300);
  });

  test('under a maintenance lease forgets and prunes what is old enough, and leaves a sound repository', async () => {
    const pruner = await credential('maintain');
    const [first] = await snapshots();
    await vault.repositories.maintain(repository.id, pruner.credentialId, 600);
    const young = await vault.ask('DELETE', `/${repository.id}/snapshots/${first?.id}`, { as: pruner });
    expect(young).toMatchObject(REFUSED);
    const longAgo = new Date(Date.now() - 3_700_000);
    const base = path.join(vault.directory, repository.id);
    const { stdout } = await run('find', [base, '-type', 'f']);
    for (const file of stdout.trim().split('\n')) await utimes(file, longAgo, longAgo);
    await restic(pruner, 'forget', first?.id ?? '', '--prune');
    await vault.repositories.endMaintenance(repository.id, pruner.credentialId);
    const left = await snapshots();
    expect(left.map(({ id }) => id)).not.toContain(first?.id);
    await restic(repository.credential, 'check', '--read-data');
    expect(await vault.service.vault.usage.bytes(repository.id)).toBe(
      (await bytesIn(base)) + (await bytesIn(path.join(vault.directory, '.laid-aside', repository.id))),
    );
  });

  test('leaves with everything: a read credential and `restic copy`', async () => {
    const reader = await credential('read');
    const own = path.join(home, 'own');
    const env = { PATH: process.env['PATH'], HOME: home, RESTIC_PASSWORD: PASSWORD };
    await run('restic', ['-r', own, 'init'], { env });
    const passwordFile = path.join(home, 'password');
    await writeFile(passwordFile, PASSWORD);
    const from = `rest:https://${reader.credentialId}:${reader.secret}@127.0.0.1:${vault.service.port}/${repository.id}/`;
    const words = [
      '--from-repo',
      from,
      '--from-password-file',
      passwordFile,
      '--cacert',
      path.join(home, 'authority.pem'),
    ];
    await run('restic', ['-r', own, '--no-cache', 'copy', ...words], { env });
    const { stdout } = await run('restic', ['-r', own, 'snapshots', '--json'], { env });
    expect(JSON.parse(stdout)).toHaveLength((await snapshots()).length);
    await run('restic', ['-r', own, 'check', '--read-data'], { env });
  });
});

/** A lock as the vault sees it: sealed bytes under their hash. */
async function aLock(as: IssuedCredential): Promise<{ id: string; release: () => Promise<void> }> {
  const body = randomBytes(200);
  const id = idOf(body);
  const target = `/${repository.id}/locks/${id}`;
  expect(await vault.ask('POST', target, { as, body })).toMatchObject({ status: 200 });
  return { id, release: async () => void (await vault.ask('DELETE', target, { as })) };
}

async function bytesIn(folder: string): Promise<number> {
  const { stdout } = await run('find', [folder, '-type', 'f', '-printf', '%s\n']);
  return stdout
    .trim()
    .split('\n')
    .reduce((sum, bytes) => sum + Number(bytes), 0);
}
