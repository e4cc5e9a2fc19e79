import { createHash, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { createLogger } from '#libs/platform/telemetry';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { Watch, Watches } from './index.js';

let database: ControlDatabase;
beforeAll(async () => {
  database = await createControlDatabase();
});
afterAll(() => database?.drop());

test('it is read once for all who look at the same time, and a reading that fails is told to them and tried anew', async () => {
  let reads = 0;
  const watch = new Watch(() => {
    reads += 1;
    return reads === 2 ? Promise.reject(new Error('away')) : Promise.resolve(reads);
  });
  expect(await Promise.all([watch.look(), watch.look(), watch.look()])).toEqual([1, 1, 1]);
  expect(await Promise.allSettled([watch.look(), watch.look()])).toMatchObject([
    { reason: { message: 'away' } },
    { reason: { message: 'away' } },
  ]);
  expect(await watch.look()).toBe(3);
});

test('who is woken while it is being read is given the next reading, which begins when that one has ended', async () => {
  const reads: ((value: string) => void)[] = [];
  const watch = new Watch(() => new Promise<string>((resolve) => reads.push(resolve)));
  const before = watch.look();
  await waitFor('the first reading', () => reads.length === 1, { timeoutMs: 5_000 });
  watch.wake();
  const after = watch.look();
  await new Promise<void>((resolve) => setImmediate(resolve));
  expect(reads).toHaveLength(1);
  reads[0]?.('old');
  expect(await before).toBe('old');
  await waitFor('the second reading', () => reads.length === 2, { timeoutMs: 5_000 });
  reads[1]?.('new');
  expect(await after).toBe('new');
});

test('all who follow the same share a watch, each tenant its own; the last who leaves ends it, and a notification wakes it', async () => {
  const watches = new Watches<number>(
    database.tenantUrl,
    'test_watch',
    createLogger({ name: 'watch test', level: 'silent' }),
  );
  await watches.start();
  const [one, other, id] = [randomUUID(), randomUUID(), randomUUID()];
  const make = () => new Watch(() => Promise.resolve(0));
  const mine = watches.join(one, id, make);
  expect(watches.join(one, id, make)).toBe(mine);
  expect(watches.join(other, id, make)).not.toBe(mine);
  watches.leave(one, id);
  expect(watches.join(one, id, make)).toBe(mine);
  const woken = Promise.withResolvers<void>();
  const wake = mine.wake.bind(mine);
  mine.wake = () => {
    wake();
    woken.resolve();
  };
  const client = new pg.Client({ connectionString: database.tenantUrl });
  await client.connect();
  await client.query(`SELECT pg_notify('test_watch', $1)`, [createHash('sha256').update(id).digest('hex')]);
  await woken.promise;
  await client.end();
  for (let times = 0; times < 2; times += 1) watches.leave(one, id);
  expect(watches.join(one, id, make)).not.toBe(mine);
  await watches.stop();
  expect(watches.stopped.aborted).toBe(true);
});
