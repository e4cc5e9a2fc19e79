import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** Longer than a failover takes that nothing is in the way of. */
const SLOT_MS = 5_000;

/** Drives one run as far as it goes. The rows know how far it has come. */
export const advanceRunJob = defineJob({
  name: 'failover.advance',
  queue: 'runs',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 500 },
  slotMs: SLOT_MS,
});

/** The same for a run that has failed before, on a queue where it is in no other's way. */
export const resumeRunJob = defineJob({
  name: 'failover.resume',
  queue: 'retries',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 500 },
  slotMs: SLOT_MS,
});

/** Turns the other site to the new primary, when the run itself could not. */
export const repointOtherSiteJob = defineJob({
  name: 'failover.repoint',
  queue: 'retries',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 500 },
  slotMs: 1_000,
});

/** A run whose wake-up or process was lost loses a second. */
export const sweepRunsJob = defineSweep('failover.sweep', 1_000);
export const sweepRepointsJob = defineSweep('failover.sweep-repoints', 5_000);

/** The jobs that a site process runs for this library. */
export const FAILOVER_JOBS = [
  advanceRunJob,
  resumeRunJob,
  repointOtherSiteJob,
  sweepRunsJob,
  sweepRepointsJob,
] as const;
