import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { rename, utimes } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import type { SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import type { IssuedCredential } from '../index.js';
import { basic, idOf, VaultUnderTest } from './testing/vault-under-test.js';
import { Turns } from './turns.js';
import { VaultLedgerRows } from './vault-ledger.service.js';

let vault: VaultUnderTest;
beforeAll(async () => {
  vault = await VaultUnderTest.start();
});
afterAll(() => vault.stop());

describe('the quota', () => {
  test('is 507 beyond, 411 without a length, and counts what is under way', async () => {
    const { as, of } = await vault.opened('append', { quotaBytes: 10_000 });
    const [first, second, third] = [randomBytes(6_000), randomBytes(5_000), randomBytes(4_000)];
    const post = (body: Buffer) => vault.status('POST', of(`data/${idOf(body)}`), { as, body });
    expect(await post(first)).toBe(200);
    expect(await post(second)).toBe(507);
    expect(await post(first)).toBe(200);
    const bare = await vault.status('POST', of(`data/${idOf(third)}`), {
      as,
      headers: { 'transfer-encoding': 'chunked' },
    });
    expect(bare).toBe(411);
    const both = await Promise.all([post(third), post(randomBytes(4_000))]);
    expect([...both].sort()).toEqual([200, 507]);
  });
});

describe('the rate', () => {
  test('holds one repository back, in both directions, and no other', async () => {
    const slow = await vault.opened('append', { bytesPerSecond: 131_072 });
    const fast = await vault.opened('append');
    const [small, large] = [randomBytes(100_000), randomBytes(4_000_000)];
    const post = ({ as, of }: typeof slow, body: Buffer) => vault.ask('POST', of(`data/${idOf(body)}`), { as, body });
    const get = ({ as, of }: typeof slow, body: Buffer) => vault.ask('GET', of(`data/${idOf(body)}`), { as });
    const ended: string[] = [];
    const one = async (name: string, asked: Promise<{ status: number }>) => {
      expect((await asked).status).toBe(200);
      ended.push(name);
    };
    const first = randomBytes(700_000);
    const taken = one('slow', post(slow, first));
    for (const body of [small, large]) await one('fast', post(fast, body));
    expect(ended).toEqual(['fast', 'fast']);
    await taken;
    const given = one('slow given', get(slow, first));
    await one('fast given', get(fast, large));
    expect(ended.slice(2)).toEqual(['slow', 'fast given']);
    await given;
  });
});

describe('locks', () => {
  test('are ended by their owner, by nobody else before they are stale', async () => {
    const { id, as, of } = await vault.opened('append');
    const other = await vault.repositories.issue(id, 'append');
    const body = randomBytes(100);
    const lock = of(`locks/${idOf(body)}`);
    expect(await vault.status('POST', lock, { as, body })).toBe(200);
    expect(await vault.status('DELETE', lock, { as: other })).toBe(403);
    expect(await vault.status('DELETE', lock, { as })).toBe(200);
    expect(await vault.status('DELETE', lock, { as })).toBe(200);
    await vault.ask('POST', lock, { as, body });
    const longAgo = new Date(Date.now() - 31 * 60_000);
    await utimes(path.join(vault.directory, id, 'locks', idOf(body)), longAgo, longAgo);
    expect(await vault.status('DELETE', lock, { as: other })).toBe(200);
  });

  test('are nobody else’s to take while the repository is maintained', async () => {
    const { id, as, of } = await vault.opened('append');
    const pruner = await vault.repositories.issue(id, 'maintain');
    await vault.repositories.maintain(id, pruner.credentialId, 60);
    const body = randomBytes(100);
    const refused = await vault.ask('POST', of(`locks/${idOf(body)}`), { as, body });
    expect([refused.status, refused.headers['retry-after']]).toEqual([503, '60']);
    expect(await vault.status('POST', of(`locks/${idOf(body)}`), { as: pruner, body })).toBe(200);
    expect(await vault.status('DELETE', of(`locks/${idOf(body)}`), { as })).toBe(403);
    await vault.repositories.endMaintenance(id, pruner.credentialId);
    expect(await vault.status('POST', of(`locks/${idOf(randomBytes(1))}`), { as, body: randomBytes(0) })).toBe(400);
  });
});

describe('retention', () => {
  test('lets go only what is old by the vault’s clock, under a lease, and without a hold', async () => {
    const { id, as, of } = await vault.opened('maintain', { minimumAgeSeconds: 3_600 });
    const body = randomBytes(100);
    const name = of(`snapshots/${idOf(body)}`);
    expect(await vault.status('POST', name, { as, body })).toBe(200);
    const rows = await vault.rows(`SELECT snapshot_id FROM vault_snapshot WHERE repository_id = $1`, [id]);
    expect(rows).toEqual([{ snapshot_id: idOf(body) }]);
    const removal = async () => {
      const { status: code, body: text } = await vault.ask('DELETE', name, { as });
      return `${code} ${text.toString().trim()}`;
    };
    expect(await removal()).toBe('403 Only the holder of the maintenance lease removes objects.');
    await vault.repositories.maintain(id, as.credentialId, 60);
    expect(await removal()).toMatch(/^403 Retained until 20/);
    const file = path.join(vault.directory, id, 'snapshots', idOf(body));
    const ahead = new Date(Date.now() + 3_600_000 * 24);
    await utimes(file, ahead, ahead);
    expect(await removal()).toMatch(/^403 Retained until 20/);
    const longAgo = new Date(Date.now() - 3_601_000);
    await utimes(file, longAgo, longAgo);
    await vault.repositories.hold(id, 'litigation 22-114');
    expect(await removal()).toBe('403 Nothing is removed: litigation 22-114.');
    await vault.repositories.hold(id, null);
    expect(await removal()).toBe('200 ');
    expect(await vault.status('HEAD', name, { as })).toBe(404);
  });

  test('a minimum age is never shortened, and a lease is one credential’s at a time', async () => {
    const { id, as } = await vault.opened('maintain', { minimumAgeSeconds: 3_600 });
    const [{ tenant_id: tenantId }] = (await vault.rows<{ tenant_id: string }>(
      `SELECT tenant_id FROM vault_repository WHERE repository_id = $1`,
      [id],
    )) as [{ tenant_id: string }];
    await vault.repositories.ensure({ repositoryId: id, tenantId, quotaBytes: null, minimumAgeSeconds: 1 });
    const age = await vault.rows(`SELECT minimum_age_seconds FROM vault_repository WHERE repository_id = $1`, [id]);
    expect(age).toEqual([{ minimum_age_seconds: 3_600 }]);
    const foreign = { repositoryId: id, tenantId: randomUUID(), quotaBytes: null, minimumAgeSeconds: 1 };
    await expect(vault.repositories.ensure(foreign)).rejects.toMatchObject({ code: 'repository.not-found' });
    await vault.repositories.maintain(id, as.credentialId, 60);
    const other = await vault.repositories.issue(id, 'maintain');
    await expect(vault.repositories.maintain(id, other.credentialId, 60)).rejects.toMatchObject({ code: 'vault.busy' });
    const append = await vault.repositories.issue(id, 'append');
    await expect(vault.repositories.maintain(id, append.credentialId, 60)).rejects.toMatchObject({
      code: 'credential.not-found',
    });
  });
});

describe('roles', () => {
  test('a read credential reads, and takes no more than a lock', async () => {
    const { id, as: writer, of } = await vault.opened('append');
    const as = await vault.repositories.issue(id, 'read');
    const body = randomBytes(100);
    await vault.ask('POST', of(`data/${idOf(body)}`), { as: writer, body });
    expect(await vault.status('GET', of(`data/${idOf(body)}`), { as })).toBe(200);
    expect(await vault.status('GET', of('data/'), { as })).toBe(200);
    expect(await vault.status('POST', of(`data/${idOf(randomBytes(1))}`), { as, body })).toBe(403);
    expect(await vault.status('POST', of('config'), { as, body })).toBe(403);
    expect(await vault.status('POST', of(`locks/${idOf(body)}`), { as, body })).toBe(200);
    expect(await vault.status('DELETE', of(`locks/${idOf(body)}`), { as })).toBe(200);
  });
});

describe('a write credential', () => {
  test('adds and reads what there is, and none of what was archived', async () => {
    const { as, of } = await vault.opened('write');
    const body = randomBytes(100);
    for (const type of ['data', 'index', 'keys', 'snapshots']) {
      expect(await vault.status('POST', of(`${type}/${idOf(body)}`), { as, body })).toBe(200);
      const read = type === 'data' ? 403 : 200;
      expect(await vault.status('GET', of(`${type}/${idOf(body)}`), { as })).toBe(read);
      expect(await vault.status('GET', of(`${type}/`), { as })).toBe(read);
      expect(await vault.status('DELETE', of(`${type}/${idOf(body)}`), { as })).toBe(403);
    }
  });
});

describe('guesses', () => {
  const insert = (id: string, { credentialId, secret }: IssuedCredential) =>
    vault.rows(
      `INSERT INTO vault_credential (credential_id, repository_id, role, secret_hash) VALUES ($1, $2, 'read', $3)`,
      [credentialId, id, createHash('sha256').update(secret).digest()],
    );

  test('what did not open is not looked up again for a while, unless credentials have changed', async () => {
    const { id, as: own, of } = await vault.opened('append');
    const as = { credentialId: randomUUID(), secret: 'a guess' };
    expect(await vault.status('GET', of('data/'), { as })).toBe(401);
    await insert(id, as);
    expect(await vault.status('GET', of('data/'), { as })).toBe(401);
    await vault.repositories.end(own.credentialId);
    await waitFor('the news', async () => (await vault.status('GET', of('data/'), { as })) === 200, {
      timeoutMs: 30_000,
    });
  });

  test('a credential that ends while it is looked up is not remembered as good', async () => {
    const { id, as } = await vault.opened('append');
    // The news is heard after the row was read, and before it is remembered.
    const heard = {
      run: async <T>(act: (tx: SiteTransaction) => Promise<T>): Promise<T> => {
        const read = await vault.work.run(act);
        ledger.forgetCallers();
        return read;
      },
    };
    const ledger = new VaultLedgerRows(heard as SiteUnitOfWork, vault.metrics);
    expect(await ledger.caller(id, as.credentialId, as.secret)).toMatchObject({ role: 'append' });
    await vault.repositories.end(as.credentialId);
    expect(await ledger.caller(id, as.credentialId, as.secret)).toBeUndefined();
  });

  test('many at once are answered all the same', async () => {
    const { as, of } = await vault.opened('append');
    const guesses = Array.from({ length: 200 }, () =>
      vault.status('GET', of('data/'), { as: { credentialId: randomUUID(), secret: 'x' } }),
    );
    expect(new Set(await Promise.all(guesses))).toEqual(new Set([401]));
    expect(await vault.status('GET', of('data/'), { as })).toBe(200);
  });
});

test('turns: so many at once, so many wait, and the rest is sent away', async () => {
  const turns = new Turns(2, 1);
  const gate = Promise.withResolvers<void>();
  let atOnce = 0;
  const act = async () => {
    atOnce += 1;
    await gate.promise;
  };
  const three = [turns.take(act), turns.take(act), turns.take(act)];
  await expect(turns.take(act)).rejects.toMatchObject({ status: 503 });
  expect(atOnce).toBe(2);
  gate.resolve();
  await Promise.all(three);
  expect(atOnce).toBe(3);
  await turns.take(() => Promise.reject(new Error('its own'))).catch(() => undefined);
  expect(await turns.take(() => Promise.resolve('free'))).toBe('free');
});

describe('a slow or rude client', () => {
  test('that sends no whole header, or nothing more, is cut off; others are served meanwhile', async () => {
    const hasty = await VaultUnderTest.start({ idleMs: 1_000 });
    const { as, of } = await hasty.opened('append');
    const socket = net.connect(hasty.service.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.write(`POST ${of('data/')}${'a'.repeat(64)} HTTP/1.1\r\nHost: x\r\nAuthorization: ${basic(as)}\r\n`);
    socket.write('Content-Length: 100\r\n\r\nabc');
    expect(await hasty.status('GET', of('data/'), { as })).toBe(200);
    await closed;
    const garbage = net.connect(hasty.service.port, '127.0.0.1');
    const ended = new Promise((resolve) => garbage.once('close', resolve));
    garbage.on('error', () => undefined);
    garbage.write('\u0000\u0001garbage\r\n\r\n');
    await ended;
    expect(await hasty.status('GET', of('data/'), { as })).toBe(200);
    await hasty.stop();
  });

  test('a fault of the storage’s is 500, and is over when the fault is', async () => {
    const { id, as, of } = await vault.opened('append');
    const away = path.join(vault.directory, `${id}.away`);
    await rename(path.join(vault.directory, id, 'keys'), away);
    const body = randomBytes(10);
    expect(await vault.status('POST', of(`keys/${idOf(body)}`), { as, body })).toBe(500);
    await rename(away, path.join(vault.directory, id, 'keys'));
    expect(await vault.status('POST', of(`keys/${idOf(body)}`), { as, body })).toBe(200);
  });
});
