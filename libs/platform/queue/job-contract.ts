import { z } from 'zod';

/**
 * Every queue of the product and how many of its jobs one process runs at once: one total table. What must not wait for
 * something else has a queue of its own: a failover that begins not for those that fail, a person's word about a failover
 * not for what waits for agents.
 */
export const QUEUES = {
  orders: { concurrency: 64 },
  steering: { concurrency: 16 },
  events: { concurrency: 4 },
  mail: { concurrency: 4 },
  sweep: { concurrency: 1 },
  runs: { concurrency: 16 },
  retries: { concurrency: 16 },
  standbys: { concurrency: 16 },
  archive: { concurrency: 8 },
  'archive-care': { concurrency: 2 },
} as const satisfies Record<string, { concurrency: number }>;
export type QueueName = keyof typeof QUEUES;

export interface RetryPolicy {
  /** Tries in all. The row stays, so that the sweep wakes the job again after the last one. */
  readonly attempts: number;
  /** First pause in milliseconds; it doubles with each try, with jitter. */
  readonly backoffMs: number;
}

/**
 * A job as a contract, apart from its handler: what its payload looks like and how it is retried. Payloads hold ids
 * only, never secrets: the row is the truth, the job wakes whoever works on it.
 */
export interface JobContract<P = unknown> {
  readonly name: string;
  readonly queue: QueueName;
  readonly payload: z.ZodType<P>;
  readonly retry: RetryPolicy;
  /** Set for a job that recurs, in milliseconds: sweeps. Its payload is `{}`. */
  readonly everyMs?: number;
  /**
   * After so many milliseconds the job counts as done for the queue, and goes on beside those that come after it, so that
   * jobs which wait for something do not keep others from beginning. Only for jobs whose rows say who is at work on them,
   * and that the queue does not try again: `retry.attempts` is 1.
   */
  readonly slotMs?: number;
}

export function defineJob<P>(contract: JobContract<P>): JobContract<P> {
  if (contract.slotMs !== undefined && contract.retry.attempts > 1) {
    throw new Error(`${contract.name}: a job that may leave its slot is not tried again by the queue`);
  }
  return Object.freeze(contract);
}

/** A sweep: a job that recurs and finds the rows whose wake-up was lost. */
export function defineSweep(name: string, everyMs: number): JobContract<Record<string, never>> {
  return defineJob({
    name,
    queue: 'sweep',
    payload: z.object({}) as unknown as z.ZodType<Record<string, never>>,
    retry: { attempts: 1, backoffMs: 1_000 },
    everyMs,
  });
}

/** What runs a job. It must be safe to repeat: a job is delivered at least once. */
export interface JobHandler<P> {
  handle(payload: P, signal: AbortSignal): Promise<void>;
}
