import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { childEnvironment } from '#libs/platform/config';
import { basic, idOf, VaultUnderTest, type OpenedRepository } from './testing/vault-under-test.js';

/** What `npm run build` made; npm's pretest does that before the tests. */
const MAIN = path.resolve('dist/libs/archive/site/vault/testing/vault-process.js');
const ROUNDS = 5;
const WRITERS = 6;

let vault: VaultUnderTest;
let repository: OpenedRepository;
/** By name: what the vault has answered 200 for. */
const answered = new Set<string>();

beforeAll(async () => {
  vault = await VaultUnderTest.start();
  repository = await vault.opened('append');
});
afterAll(() => vault.stop());

async function start(): Promise<{ child: ChildProcess; port: number }> {
  const options = JSON.stringify({ directory: vault.directory, databaseUrl: vault.databaseUrl });
  const child = spawn(process.execPath, [MAIN, options], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: childEnvironment({}),
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, port: Number(line.toString()) };
}

/** One upload in small pieces, so that a kill meets it anywhere. False when it broke off. */
function upload(port: number, name: string, body: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.request({
      host: '127.0.0.1',
      port,
      method: 'POST',
      path: repository.of(name),
      headers: { authorization: basic(repository.as), 'content-length': body.length },
    });
    request.once('error', () => resolve(false));
    request.once('response', (response) => {
      response.resume();
      response.once('error', () => undefined);
      resolve(response.statusCode === 200);
    });
    for (let at = 0; at < body.length; at += 20_000) request.write(body.subarray(at, at + 20_000));
    request.end();
  });
}

test('killed with -9 at any moment, the vault has all that it answered for, and nothing torn', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const { child, port } = await start();
    const before = answered.size;
    let alive = true;
    const gone = once(child, 'exit').then(() => (alive = false));
    const write = async (): Promise<void> => {
      while (alive) {
        const body = randomBytes(1_000 + Math.floor(Math.random() * 3_000_000));
        const name = `data/${idOf(body)}`;
        if (await upload(port, name, body)) answered.add(name);
        // In the middle of the other writers' uploads, wherever those are.
        if (answered.size >= before + 10 && alive) child.kill('SIGKILL');
      }
    };
    await Promise.all([...Array.from({ length: WRITERS }, write), gone]);
  }
  const { child, port } = await start();
  expect(await readdir(path.join(vault.directory, '.incoming'))).toEqual([]);
  child.kill('SIGTERM');
  await once(child, 'exit');
  expect(port).toBeGreaterThan(0);
  // The vault of this process serves the same folder; whatever is listed hashes to its name, or it would be a 500.
  const as = repository.as;
  const listed = JSON.parse((await vault.ask('GET', repository.of('data/'), { as })).body.toString()) as string[];
  for (const id of listed) expect((await vault.ask('GET', repository.of(`data/${id}`), { as })).status).toBe(200);
  const missing = [...answered].filter((name) => !listed.includes(name.slice('data/'.length)));
  expect(missing).toEqual([]);
  expect(answered.size).toBeGreaterThanOrEqual(ROUNDS * 10);
});
