import type { INestApplicationContext } from '@nestjs/common';
import { type JobContract, JobQueue } from '#libs/platform/queue';

const TIMES = 8;

/**
 * Schedules the sweeps of a process that has started so many times as often: tests wait for what a sweep finds, and the
 * product has no reason to look several times a second.
 */
export async function quickSweeps(app: INestApplicationContext, jobs: readonly JobContract<never>[]): Promise<void> {
  const queue = app.get(JobQueue, { strict: false });
  for (const job of jobs) {
    if (job.everyMs !== undefined) await queue.schedule(job as never, Math.ceil(job.everyMs / TIMES));
  }
}
