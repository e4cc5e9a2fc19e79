import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { waitFor } from '#libs/platform/clock';
import { freePort } from '#libs/platform/postgres';

export interface TestRedis {
  readonly url: string;
  stop(): Promise<void>;
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

/** A Redis server of the test's own on loopback, without a file on disk. */
export async function redisForTests(): Promise<TestRedis> {
  const port = await freePort();
  const child = spawn(
    'redis-server',
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    {
      stdio: 'ignore',
    },
  );
  const failed = once(child, 'error').then(([error]: unknown[]) => {
    throw new Error('redis-server is not installed: run node tools/preflight.mjs --with redis', { cause: error });
  });
  await Promise.race([waitFor('Redis to answer', () => answers(port), { timeoutMs: 10_000 }), failed]);
  return {
    url: `redis://127.0.0.1:${port}`,
    stop: async () => {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
    },
  };
}
