import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { basic, idOf, VaultUnderTest, type OpenedRepository } from './testing/vault-under-test.js';

const CASES = 600;
const BATCH = 40;
const IDLE_MS = 1_000;

let vault: VaultUnderTest;
let own: OpenedRepository;
let other: OpenedRepository;

beforeAll(async () => {
  vault = await VaultUnderTest.start({ idleMs: IDLE_MS });
  own = await vault.opened('append', { quotaBytes: 50_000_000 });
  other = await vault.opened('append');
});
afterAll(() => vault.stop());

/** A small generator with a seed, so that a case that fails can be had again. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const pick = <T>(random: (below: number) => number, from: readonly T[]): T => from[random(from.length)] as T;

/** A request that is nearly right: each part is right nine times in ten. */
function nearly(random: (below: number) => number): Buffer {
  const mostly = <T>(right: T, wrong: readonly T[]): T => (random(10) > 0 ? right : pick(random, wrong));
  const body = randomBytes(random(3) === 0 ? random(200_000) : random(2_000));
  const hash = idOf(body);
  const id = mostly(hash, [hash.slice(1), `${hash}0`, hash.toUpperCase(), '..', '%2e%2e', '', '\u00e9']);
  const type = mostly(pick(random, ['data', 'index', 'keys', 'locks', 'snapshots']), [
    'config',
    'tmp',
    '..',
    '.incoming',
    '',
  ]);
  const repository = mostly(own.id, [other.id, '..', `${own.id}/..`, own.id.toUpperCase()]);
  const query = mostly('', ['?create=true', '?create=', '?', '#x']);
  const method = mostly('POST', ['GET', 'HEAD', 'DELETE', 'PUT', 'PATCH', 'OPTIONS', 'TRACE', 'BREW']);
  const length = mostly<string | number>(body.length, [body.length + 1, body.length - 1, 0, -1, 1e15, 'x']);
  const lines = [
    `${method} /${repository}/${type}/${id}${query} HTTP/1.1`,
    'Host: vault',
    `Authorization: ${mostly(basic(own.as), ['Basic ', 'Basic Og==', 'Digest x'])}`,
    `Range: ${pick(random, ['bytes=0-', 'bytes=5-1', 'bytes=-5', 'bytes=0-99999999999999999999', 'lines=1-2', 'bytes=0-1,3-4'])}`,
    random(6) === 0 ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`,
    ...(random(10) === 0 ? ['Expect: 100-continue'] : []),
    ...(random(15) === 0 ? [`X: ${'a'.repeat(random(20_000))}`] : []),
    'Connection: close',
  ];
  const whole = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
  // Now and then a bit falls over, or the line does.
  if (random(8) === 0) whole[random(whole.length)] = random(256);
  return random(8) === 0 ? whole.subarray(0, random(whole.length)) : whole;
}

/** Sends it and answers the status, or null when the vault only hung up. */
function send(bytes: Buffer): Promise<number | null> {
  return new Promise((resolve) => {
    const socket = net.connect(vault.service.port, '127.0.0.1');
    let said = '';
    socket.on('data', (chunk) => (said += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      const status = /^HTTP\/1\.1 (\d{3})/.exec(said.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, ''))?.[1];
      resolve(status === undefined ? null : Number(status));
    });
    socket.write(bytes);
    // What waits for more is given up: a line that is closed in one direction is a client that has gone.
    socket.setTimeout(IDLE_MS, () => socket.end());
  });
}

test('nearly right requests do no harm: no fault of ours, nothing torn, nothing of another agency', async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const random = generator(seed);
  let accepted = 0;
  const known = new Set([null, 200, 206, 400, 401, 403, 404, 405, 411, 413, 416, 417, 431, 501, 505, 507, 408]);
  for (let batch = 0; batch < CASES / BATCH; batch += 1) {
    const cases = Array.from({ length: BATCH }, () => nearly(random));
    const statuses = await Promise.all(cases.map(send));
    for (const [index, status] of statuses.entries()) {
      if (status === 200) accepted += 1;
      expect([
        seed,
        known.has(status) ? 'known' : status,
        known.has(status) || cases[index]?.toString('latin1', 0, 300),
      ]).toEqual([seed, 'known', true]);
    }
  }
  // Else nothing was shown.
  expect([seed, accepted > CASES / 10]).toEqual([seed, true]);
  for (const type of ['data', 'index', 'keys', 'locks', 'snapshots']) {
    const listed = JSON.parse((await vault.ask('GET', own.of(`${type}/`), { as: own.as })).body.toString()) as string[];
    for (const id of listed) {
      const { status, body } = await vault.ask('GET', own.of(`${type}/${id}`), { as: own.as });
      expect([status, idOf(body)]).toEqual([200, id]);
    }
  }
  expect((await vault.ask('GET', other.of('data/'), { as: other.as })).body.toString()).toBe('[]');
  expect((await readdir(vault.directory)).sort()).toEqual(['.incoming', own.id, other.id].sort());
  expect(await readdir(path.join(vault.directory, '.incoming'))).toEqual([]);
  expect(await vault.service.vault.usage.reserved(own.id)).toBe(0);
  expect((await stat(path.join(vault.directory, own.id))).isDirectory()).toBe(true);
});
