import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { archiveEnvironment, archiveSettings } from './archive-environment.js';

const sockets = new Set<Socket>();
const silent = createServer((socket) => void sockets.add(socket.on('error', () => undefined).resume()));
beforeEach(async () => {
  await once(silent.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});

/** More than three attempts of each of the calls may take. */
const MINUTES = 60;
/** Lets time pass for what waits for timers, and as much of it really for what waits for the network. */
async function minutesGoBy(over: () => boolean): Promise<void> {
  for (let minute = 0; minute < MINUTES && !over(); minute += 1) {
    for (let second = 0; second < 60; second += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test.each([
  ['sent whole', 1_000],
  ['sent in parts', 9 * 2 ** 20],
])('an upload to a bucket that accepts and never answers ends as a failure, and lets go: %s', async (_, bytes) => {
  const { port } = silent.address() as AddressInfo;
  const read = archiveEnvironment.parse({
    VAULT_PORT: '8443',
    VAULT_STORAGE: 's3',
    VAULT_S3_ENDPOINT: `http://127.0.0.1:${port}`,
    VAULT_S3_BUCKET: 'vault',
  });
  const credentials = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' };
  for (const [name, value] of Object.entries(credentials)) vi.stubEnv(name, value);
  const storage = archiveSettings(read, '/nowhere', 'postgres://nowhere')!.vault.storage!;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const incoming = await storage.incoming('repository', { type: 'data', id: 'a'.repeat(64) });
  let ended: string | undefined;
  const upload = (async () => {
    await incoming.write(Buffer.alloc(bytes));
    await incoming.commit();
  })();
  const through = upload
    .catch((error: unknown) => (error as Error).name)
    .then(async (name) => {
      await incoming.discard();
      ended = name ?? 'stored';
    });
  await minutesGoBy(() => ended !== undefined);
  expect(ended).toBe('TimeoutError');
  await through;
});
