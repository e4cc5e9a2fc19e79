import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** Brings one standby a step nearer to what is wanted. The row is the truth; the sweep wakes it again. */
export const reconcileStandbyJob = defineJob({
  name: 'standbys.reconcile',
  queue: 'standbys',
  payload: z.strictObject({ workloadId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 1_000 },
  // A look takes milliseconds, unless somebody is waited for.
  slotMs: 5_000,
});

/** Looks at every standby: what is to be done, and whether what was reached still holds. */
export const sweepStandbysJob = defineSweep('standbys.sweep', 5_000);

/** The jobs that a site process runs for this library. */
export const STANDBYS_JOBS = [reconcileStandbyJob, sweepStandbysJob] as const;
