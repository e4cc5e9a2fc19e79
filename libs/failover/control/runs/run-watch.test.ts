import { expect, test } from 'vitest';
import type { RunEvent } from '#contracts/failover';
import { watchRun } from './run-watch.js';

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

test('each event is read once, and whoever looks has them all', async () => {
  const asked: number[] = [];
  const rows = [event(1), event(2)];
  const watch = watchRun((after) => {
    asked.push(after);
    return Promise.resolve({ state: 'running', events: rows.filter(({ number }) => number > after) });
  });
  const look = async () => (await watch.look()).events.map(({ number }) => number);
  expect(await Promise.all([look(), look(), look()])).toEqual([
    [1, 2],
    [1, 2],
    [1, 2],
  ]);
  rows.push(event(3));
  expect(await look()).toEqual([1, 2, 3]);
  expect(await look()).toEqual([1, 2, 3]);
  expect(asked).toEqual([0, 2, 3]);
});
