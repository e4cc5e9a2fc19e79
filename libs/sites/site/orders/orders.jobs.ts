import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/**
 * Carries out one stored order. One try: the row knows when the next is due, and the sweep wakes it. Not on the queue of
 * the failover runs: orders that wait for agents out of reach must not take their places.
 */
export const carryOutOrderJob = defineJob({
  name: 'orders.carry-out',
  queue: 'orders',
  payload: z.strictObject({ orderId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 1_000 },
});

/** Wakes the orders that are due: lost wake-ups, later tries, and those whose process died. */
export const sweepOrdersJob = defineSweep('orders.sweep', 5_000);
