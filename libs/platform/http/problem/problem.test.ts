import { expect, test } from 'vitest';
import { toProblem } from './problem.js';

const withCode = (code: string): Error => Object.assign(new Error('pg'), { code });

test('503 when no connection is free in time: pg-pool gives that error no code', () => {
  for (const text of ['timeout exceeded when trying to connect', 'Connection terminated due to connection timeout']) {
    expect(toProblem(new Error(text))).toMatchObject({ status: 503, facts: { retryAfterSeconds: 1 } });
  }
  expect(toProblem(new Error('timeout exceeded when trying to connect to the moon')).status).toBe(500);
});

test('400 for a value that no column can hold, 500 for what is wrong with our own statement', () => {
  for (const code of ['22P02', '22007', '22008', '22021', '22003']) expect(toProblem(withCode(code)).status).toBe(400);
  for (const code of ['42601', '42P01', '23505', '22012']) expect(toProblem(withCode(code)).status).toBe(500);
});
