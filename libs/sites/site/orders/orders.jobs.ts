import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** An order takes milliseconds, unless its agent or server is waited for. */
const SLOT_MS = 5_000;

/**
 * Carries out one stored order. One try: the row knows when the next is due, and the sweep wakes it. Not on the queue of
 * the failover runs: orders that wait for agents out of reach must not take their places.
 */
export const carryOutOrderJob = defineJob({
  name: 'orders.carry-out',
  queue: 'orders',
  payload: z.strictObject({ orderId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 1_000 },
  slotMs: SLOT_MS,
});

/** The same for an urgent one (see OrderContract), on a queue where it waits for no agent of anybody's. */
export const carryOutUrgentOrderJob = defineJob({
  name: 'orders.carry-out-urgent',
  queue: 'steering',
  payload: z.strictObject({ orderId: z.uuid() }),
  retry: { attempts: 1, backoffMs: 1_000 },
  slotMs: SLOT_MS,
});

/** Wakes the orders that are due: lost wake-ups, later tries, and those whose process died. */
export const sweepOrdersJob = defineSweep('orders.sweep', 5_000);
