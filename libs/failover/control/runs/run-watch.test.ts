import { expect, test } from 'vitest';
import type { RunEvent } from '#contracts/failover';
import { RunWatch } from './run-watch.js';

const event = (number: number): RunEvent => ({
  runId: '7c1c3c86-5a0e-4b0c-9d7e-0d5d3c1f0a01',
  workloadId: '7c1c3c86-5a0e-4b0c-9d7e-0d5d3c1f0a02',
  number,
  at: '2031-01-01T00:00:00.000Z',
  state: 'running',
  step: null,
  stepState: null,
  attempt: null,
  message: '',
  evidence: {},
});

test('reads once for all who look at the same time, each event once, and gives each what is new to them', async () => {
  const asked: number[] = [];
  const rows = [event(1), event(2)];
  const watch = new RunWatch('run', (after) => {
    asked.push(after);
    return Promise.resolve({ state: 'running', events: rows.filter(({ number }) => number > after) });
  });
  const seen = await Promise.all([0, 1, 2, 0, 0].map((after) => watch.look(after)));
  expect(asked).toEqual([0]);
  expect(seen.map(({ events }) => events.map(({ number }) => number))).toEqual([[1, 2], [2], [], [1, 2], [1, 2]]);
  rows.push(event(3));
  expect((await watch.look(0)).events).toHaveLength(3);
  expect(asked).toEqual([0, 2]);
});

test('who is woken while it is being read is not given that reading, which may have missed what woke them', async () => {
  const rows = [event(1)];
  const reads: (() => void)[] = [];
  const watch = new RunWatch('run', async (after) => {
    const events = rows.filter(({ number }) => number > after);
    await new Promise<void>((resolve) => reads.push(resolve));
    return { state: 'running', events };
  });
  const before = watch.look(0);
  await Promise.resolve();
  rows.push(event(2));
  watch.wake();
  const after = watch.look(0);
  reads.shift()?.();
  expect((await before).events).toHaveLength(1);
  await new Promise<void>((resolve) => setImmediate(resolve));
  reads.shift()?.();
  expect((await after).events).toHaveLength(2);
});
