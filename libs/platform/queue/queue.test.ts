import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { createLogger } from '#libs/platform/telemetry';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { redisForTests, type TestRedis } from '#test/redis';
import { createQueueBackend, defineJob, HandlerMismatchError, JobQueue, JobRunner, matchHandlers } from './index.js';

const log = createLogger({ name: 'queue test', level: 'silent' });
const greet = defineJob({
  name: 'test.greet',
  queue: 'events',
  payload: z.strictObject({ name: z.string() }),
  retry: { attempts: 3, backoffMs: 10 },
});

let database: SiteDatabase;
let redis: TestRedis;
beforeAll(async () => {
  [database, redis] = await Promise.all([createSiteDatabase(), redisForTests()]);
});
afterAll(async () => {
  await database.drop();
  await redis.stop();
});

describe.each(['postgres', 'redis'] as const)('on %s', (kind) => {
  const open = () => createQueueBackend(kind === 'postgres' ? database.queueUrl : redis.url, kind, () => undefined);

  test('a job runs, and one that fails is tried again', async () => {
    const backend = open();
    const queue = new JobQueue(backend, log);
    const heard: string[] = [];
    let failures = 0;
    const runner = new JobRunner(backend, queue, log);
    await runner.start(
      matchHandlers(
        [greet as never],
        [
          {
            contract: greet as never,
            handler: {
              handle: ({ name }: { name: string }) => {
                if (name === 'twice' && failures++ === 0) return Promise.reject(new Error('first try'));
                heard.push(name);
                return Promise.resolve();
              },
            } as never,
          },
        ],
      ),
    );
    await queue.add(greet, { name: 'once' });
    await queue.add(greet, { name: 'twice' });
    await waitFor('both jobs', () => heard.length === 2, { timeoutMs: 20_000 });
    expect(heard.sort()).toEqual(['once', 'twice']);
    expect(failures).toBe(2);
    await runner.close();
    await queue.close();
    await backend.close();
  });

  test('a payload that does not fit the contract is refused before it is queued', async () => {
    const backend = open();
    const queue = new JobQueue(backend, log);
    await expect(queue.add(greet, { name: 7 } as never)).rejects.toThrow(z.ZodError);
    await queue.close();
    await backend.close();
  });
});

test('a contract without a handler, or with two, stops the start', () => {
  const handler = { handle: () => Promise.resolve() } as never;
  const registered = { contract: greet as never, handler };
  expect(() => matchHandlers([greet as never], [])).toThrow(HandlerMismatchError);
  expect(() => matchHandlers([greet as never], [registered, registered])).toThrow(/2 handlers/);
  expect(() => matchHandlers([], [registered])).toThrow(/not listed/);
});
