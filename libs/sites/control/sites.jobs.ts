import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** Delivers a site's pending orders, oldest first. */
export const deliverOrdersJob = defineJob({
  name: 'orders.deliver',
  queue: 'orders',
  payload: z.strictObject({ siteId: z.uuid() }),
  retry: { attempts: 6, backoffMs: 200 },
});

export const sweepOrdersJob = defineSweep('orders.sweep', 3_000);

/** The jobs of the process that delivers orders. */
export const SITES_JOBS = [deliverOrdersJob, sweepOrdersJob] as const;
