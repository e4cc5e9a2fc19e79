import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { childEnvironment } from '#libs/platform/config';
import type { LoadFigures, LoadPlan } from './plan.js';

const ENTRY = path.resolve('dist/bench/vault/load/load-process.js');

/** Carries a plan out in a process of its own. What the server refuses is counted, not thrown. */
export async function runLoad(plan: LoadPlan): Promise<LoadFigures> {
  const child = fork(ENTRY, { env: childEnvironment({}) });
  child.send(plan);
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the clients ended without an answer')));
  // After the answer, the end is as it should be.
  ended.catch(() => undefined);
  const [figures] = (await Promise.race([once(child, 'message'), ended])) as [LoadFigures];
  return figures;
}

/** The value that so many of a hundred do not pass (nearest rank). */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('a percentile of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil((percent / 100) * sorted.length) - 1] as number;
}
