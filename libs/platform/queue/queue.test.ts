import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { createLogger, currentTraceparent, Metrics, startTracing, withSpan } from '#libs/platform/telemetry';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { OtlpReceiver } from '#test/otlp-receiver';
import { redisForTests, type TestRedis } from '#test/redis';
import { Scraped } from '#test/scrape';
import {
  createQueueBackend,
  defineJob,
  HandlerMismatchError,
  JobQueue,
  JobRunner,
  matchHandlers,
  QUEUES,
} from './index.js';

const log = createLogger({ name: 'queue test', level: 'silent' });
const greet = defineJob({
  name: 'test.greet',
  queue: 'events',
  payload: z.strictObject({ name: z.string() }),
  retry: { attempts: 3, backoffMs: 10 },
});

const slow = defineJob({
  ...greet,
  name: 'test.slow',
  queue: 'sweep',
  retry: { attempts: 1, backoffMs: 10 },
  slotMs: 100,
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

  test('a job goes on in the trace of what woke it, is counted by its end, and one woken by nothing begins none', async () => {
    const receiver = await OtlpReceiver.start();
    const endTracing = await startTracing({ process: 'queue test', endpoint: receiver.endpoint });
    const metrics = new Metrics(log);
    await metrics.open();
    const backend = open();
    const queue = new JobQueue(backend, log);
    await queue.add(greet, { name: 'waits' });
    await withSpan('waker', {}, () => queue.add(greet, { name: 'traced' }));
    expect(await queue.depth('events')).toMatchObject({ waiting: 2, active: 0, failed: 0 });
    expect((await queue.depth('events')).oldestWaitingSeconds).toBeGreaterThanOrEqual(0);
    const heard = new Map<string, string | null>();
    const handler = {
      handle: ({ name }: { name: string }) => {
        heard.set(name, currentTraceparent());
        return name === 'traced' ? Promise.resolve() : Promise.reject(new Error('never'));
      },
    };
    const runner = new JobRunner(backend, queue, log, metrics);
    await runner.start(matchHandlers([greet as never], [{ contract: greet as never, handler: handler as never }]));
    const scrape = async () => new Scraped((await metrics.scrape()).text);
    const failed = { queue: 'events', state: 'failed' };
    await waitFor('the last try', async () => (await scrape()).value('mainstay_queue_jobs', failed) === 1, {
      timeoutMs: 20_000,
    });
    const scraped = await scrape();
    const tries = (outcome: string) =>
      scraped.value('mainstay_job_duration_seconds_count', { job_name: greet.name, outcome });
    expect([tries('done'), tries('failed')]).toEqual([1, 3]);
    expect(scraped.value('mainstay_queue_oldest_waiting_seconds', { queue: 'events' })).toBe(0);
    await runner.close();
    await queue.close();
    await backend.close();
    await endTracing();
    await receiver.close();
    expect(heard.get('waits')).toBeNull();
    const span = receiver.find(`job ${greet.name}`)!;
    expect(receiver.path(span)).toEqual(['waker', `job ${greet.name}`]);
    expect(heard.get('traced')).toContain(span.traceId);
    expect(span.attributes).toMatchObject({ 'mainstay.job': greet.name, 'mainstay.queue': 'events' });
    // The payload's name is no id: it stays here.
    expect(JSON.stringify(span)).not.toContain('traced');
  });

  test('a job that waits for somebody leaves its slot to the next, is added once by its key, and ends before the runner', async () => {
    const backend = open();
    const queue = new JobQueue(backend, log);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    const heard: string[] = [];
    const handler = {
      handle: async ({ name }: { name: string }, signal: AbortSignal) => {
        heard.push(`${name} begins`);
        if (name !== 'waits') return;
        signal.addEventListener('abort', () => resolve(), { once: true });
        await answer;
        heard.push(`${name} ends`);
      },
    };
    const runner = new JobRunner(backend, queue, log);
    // As many as there are slots, and one that could never begin.
    for (let count = 0; count < QUEUES.sweep.concurrency; count += 1) await queue.add(slow, { name: 'waits' });
    await queue.add(slow, { name: 'next' }, { key: 'same' });
    await queue.add(slow, { name: 'next' }, { key: 'same' });
    await runner.start(matchHandlers([slow as never], [{ contract: slow as never, handler: handler as never }]));
    await waitFor('the next', () => heard.includes('next begins'), { timeoutMs: 20_000 });
    await runner.close();
    expect(heard).toEqual(['waits begins', 'next begins', 'waits ends']);
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

test('a job that the queue tries again may not leave its slot', () => {
  expect(() => defineJob({ ...greet, slotMs: 100 })).toThrow(/not tried again/);
});

test('a contract without a handler, or with two, stops the start', () => {
  const handler = { handle: () => Promise.resolve() } as never;
  const registered = { contract: greet as never, handler };
  expect(() => matchHandlers([greet as never], [])).toThrow(HandlerMismatchError);
  expect(() => matchHandlers([greet as never], [registered, registered])).toThrow(/2 handlers/);
  expect(() => matchHandlers([], [registered])).toThrow(/not listed/);
});
