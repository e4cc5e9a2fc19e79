import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { basic, idOf, VaultUnderTest } from './testing/vault-under-test.js';

const V2 = 'application/vnd.x.restic.rest.v2';

let vault: VaultUnderTest;
beforeAll(async () => {
  vault = await VaultUnderTest.start({ idleMs: 3_000 });
});
afterAll(() => vault.stop());

describe('the repository', () => {
  test('is made once and again; other queries are 400, other methods 405 with what is allowed', async () => {
    const { as, of } = await vault.opened('append');
    expect(await vault.status('POST', of('?create=true'), { as })).toBe(200);
    expect(await vault.status('POST', of('?create=false'), { as })).toBe(400);
    expect(await vault.status('POST', of(''), { as })).toBe(400);
    const get = await vault.ask('GET', of(''), { as });
    expect([get.status, get.headers.allow]).toEqual([405, 'POST']);
    expect(await vault.status('DELETE', of(''), { as })).toBe(405);
  });

  test('opens for its own credentials only: everything else is 401, whether or not it exists', async () => {
    const { as, of } = await vault.opened('append');
    const other = await vault.opened('maintain');
    const stranger = { credentialId: randomUUID(), secret: as.secret };
    for (const wrong of [undefined, other.as, stranger, { ...as, secret: `${as.secret}x` }, { ...as, secret: '' }]) {
      expect(await vault.status('GET', of('data/'), wrong && { as: wrong })).toBe(401);
    }
    expect(await vault.status('GET', `/${randomUUID()}/data/`, { as })).toBe(401);
    expect(await vault.status('GET', of('data/'), { headers: { authorization: 'Bearer x' } })).toBe(401);
    expect(await vault.status('GET', of('data/'), { headers: { authorization: 'Basic %%%' } })).toBe(401);
    expect((await vault.ask('GET', of('data/'))).headers['www-authenticate']).toContain('Basic');
  });

  test('closes at once for a credential that has ended', async () => {
    const { as, of } = await vault.opened('append');
    expect(await vault.status('GET', of('data/'), { as })).toBe(200);
    await vault.repositories.end(as.credentialId);
    await waitFor(
      'the credential to be refused',
      async () => (await vault.status('GET', of('data/'), { as })) === 401,
      {
        timeoutMs: 5_000,
      },
    );
  });
});

describe('the config', () => {
  test('is taken once, whatever its hash, and served; a second is 403', async () => {
    const { as, of } = await vault.opened('append');
    expect(await vault.status('HEAD', of('config'), { as })).toBe(404);
    expect(await vault.status('POST', of('config'), { as, body: Buffer.from('sealed') })).toBe(200);
    expect(await vault.status('POST', of('config'), { as, body: Buffer.from('sealed') })).toBe(403);
    const got = await vault.ask('GET', of('config'), { as });
    expect([got.status, got.body.toString()]).toEqual([200, 'sealed']);
    expect((await vault.ask('HEAD', of('config'), { as })).headers['content-length']).toBe('6');
    expect(await vault.status('DELETE', of('config'), { as })).toBe(403);
  });
});

describe('an object', () => {
  test('goes the way of an append-only client', async () => {
    const { as, of } = await vault.opened('append');
    const body = randomBytes(10_000);
    const name = of(`data/${idOf(body)}`);
    expect(await vault.status('GET', name, { as })).toBe(404);
    expect(await vault.status('HEAD', name, { as })).toBe(404);
    expect(await vault.status('POST', name, { as, body: Buffer.from('broken') })).toBe(400);
    expect(await vault.status('GET', name, { as })).toBe(404);
    expect(await vault.status('POST', name, { as, body })).toBe(200);
    expect((await vault.ask('GET', name, { as })).body).toEqual(body);
    // The answer to the first may have been lost (rest-server #196).
    expect(await vault.status('POST', name, { as, body })).toBe(200);
    expect(await vault.status('POST', name, { as, body: Buffer.from('other bytes') })).toBe(403);
    expect((await vault.ask('GET', name, { as })).body).toEqual(body);
    expect(await vault.status('DELETE', name, { as })).toBe(403);
    expect(await vault.status('HEAD', name, { as })).toBe(200);
    const refusals = await vault.rows(
      `SELECT kind, times::int FROM vault_refusal WHERE credential_id = $1 ORDER BY kind`,
      [as.credentialId],
    );
    expect(refusals).toEqual([
      { kind: 'removal', times: 1 },
      { kind: 'replacement', times: 1 },
    ]);
  });

  test('is served in ranges: 206 with the exact part, 416 past the end', async () => {
    const { as, of } = await vault.opened('append');
    const body = randomBytes(5_000);
    const name = of(`data/${idOf(body)}`);
    await vault.ask('POST', name, { as, body });
    const part = await vault.ask('GET', name, { as, headers: { range: 'bytes=10-99' } });
    expect([part.status, part.headers['content-range'], part.headers['content-length']]).toEqual([
      206,
      'bytes 10-99/5000',
      '90',
    ]);
    expect(part.body).toEqual(body.subarray(10, 100));
    const open = await vault.ask('GET', name, { as, headers: { range: 'bytes=4990-' } });
    expect([open.status, open.body.length]).toEqual([206, 10]);
    const long = await vault.ask('GET', name, { as, headers: { range: 'bytes=0-999999' } });
    expect([long.status, long.body.length]).toEqual([206, 5_000]);
    const past = await vault.ask('GET', name, { as, headers: { range: 'bytes=5000-5001' } });
    expect([past.status, past.headers['content-range']]).toEqual([416, 'bytes */5000']);
    expect(await vault.status('GET', name, { as, headers: { range: 'bytes=20-10' } })).toBe(416);
  });

  test('never loses its bytes to a flipped bit unnoticed', async () => {
    const { id, as, of } = await vault.opened('append');
    const body = randomBytes(5_000);
    const name = of(`data/${idOf(body)}`);
    await vault.ask('POST', name, { as, body });
    expect(await vault.status('GET', name, { as })).toBe(200);
    const file = path.join(vault.directory, id, 'data', idOf(body).slice(0, 2), idOf(body));
    const bytes = await readFile(file);
    bytes[2_500] = (bytes[2_500] ?? 0) ^ 1;
    await writeFile(file, bytes);
    expect(await vault.status('GET', name, { as })).toBe(500);
    expect(await vault.status('GET', name, { as, headers: { range: 'bytes=0-9' } })).toBe(500);
  });

  test('that breaks off is nowhere, and what was sent beside it is untouched', async () => {
    const { as, of } = await vault.opened('append', { quotaBytes: 1_000_000 });
    const body = randomBytes(100_000);
    const name = of(`data/${idOf(body)}`);
    const stalled = http.request({
      host: '127.0.0.1',
      port: vault.service.port,
      method: 'POST',
      path: name,
      headers: { authorization: basic(as), 'content-length': body.length },
    });
    const over = new Promise((resolve) => stalled.once('error', resolve));
    stalled.write(body.subarray(0, 50_000));
    await waitFor(
      'the upload to be under way',
      async () => (await vault.service.vault.usage.reserved(idOfPath(name))) > 0,
      {
        timeoutMs: 5_000,
      },
    );
    expect(await vault.status('DELETE', name, { as })).toBe(403);
    expect(await vault.status('POST', name, { as, body })).toBe(200);
    // Nothing more comes: the idle limit cuts it.
    await over;
    expect((await vault.ask('GET', name, { as })).body).toEqual(body);
    await waitFor(
      'its room to be given back',
      async () => (await vault.service.vault.usage.reserved(idOfPath(name))) === 0,
      {
        timeoutMs: 5_000,
      },
    );
    expect(await vault.service.vault.usage.bytes(idOfPath(name))).toBe(100_000);
  });
});

const idOfPath = (name: string): string => name.split('/')[1] ?? '';

describe('a list', () => {
  test('comes in both versions, and empty as []', async () => {
    const { as, of } = await vault.opened('append');
    for (const type of ['data', 'index', 'keys', 'locks', 'snapshots']) {
      const empty = await vault.ask('GET', of(`${type}/`), { as });
      expect([empty.status, empty.body.toString()]).toEqual([200, '[]']);
    }
    const bodies = [randomBytes(10), randomBytes(20)];
    for (const body of bodies) await vault.ask('POST', of(`index/${idOf(body)}`), { as, body });
    const one = await vault.ask('GET', of('index/'), { as });
    expect((JSON.parse(one.body.toString()) as string[]).sort()).toEqual(bodies.map(idOf).sort());
    const two = await vault.ask('GET', of('index/'), { as, headers: { accept: V2 } });
    expect(two.headers['content-type']).toBe(V2);
    const sizes = (JSON.parse(two.body.toString()) as { name: string; size: number }[]).map(({ name, size }) => [
      name,
      size,
    ]);
    expect(new Map(sizes as [string, number][])).toEqual(new Map(bodies.map((body) => [idOf(body), body.length])));
    const both = await vault.ask('GET', of('index/'), { as, headers: { accept: `${V2}, */*` } });
    expect(both.headers['content-type']).not.toBe(V2);
  });
});

describe('a path', () => {
  test('that is not exactly a name of the protocol is 404, however it is dressed', async () => {
    const { id, as } = await vault.opened('append');
    const hash = 'a'.repeat(64);
    const tricks = [
      `/${id}/../${id}/config`,
      `/${id}//config`,
      `/${id}/config/`,
      `/${id}/config/x`,
      `/${id}/%63onfig`,
      `/${id}/data/${hash}/`,
      `/${id}/data/aa/${hash}`,
      `/${id}/data/${hash.toUpperCase()}`,
      `/${id}/data/${hash}a`,
      `/${id}/data/..%2f..%2fconfig`,
      `/${id}/data/../../../../etc/passwd`,
      `/${id}/tmp/${hash}`,
      `/${id}/data/${hash.slice(1)}`,
      `/${id}/data/\u0000`,
      '/',
      '//',
      '/.incoming/',
      '/..',
      `/${id.toUpperCase()}/config`,
    ].map((trick) => trick.replace('\u0000', '%00'));
    for (const trick of tricks) expect([trick, await vault.status('GET', trick, { as })]).toEqual([trick, 404]);
  });
});
