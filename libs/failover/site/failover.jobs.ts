import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** Drives one run as far as it goes. The rows know how far it has come. */
export const advanceRunJob = defineJob({
  name: 'failover.advance',
  queue: 'runs',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 500 },
});

/** Turns the other site to the new primary, when the run itself could not. */
export const repointOtherSiteJob = defineJob({
  name: 'failover.repoint',
  queue: 'runs',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 500 },
});

/** A run whose wake-up or process was lost loses a second. */
export const sweepRunsJob = defineSweep('failover.sweep', 1_000);
export const sweepRepointsJob = defineSweep('failover.sweep-repoints', 5_000);

/** The jobs that a site process runs for this library. */
export const FAILOVER_JOBS = [advanceRunJob, repointOtherSiteJob, sweepRunsJob, sweepRepointsJob] as const;
