import { Injectable } from '@nestjs/common';
import { JobQueue, type WakeOptions } from '#libs/platform/queue';
import { OrderHandlers } from './order-handlers.js';
import { carryOutOrderJob, carryOutUrgentOrderJob } from './orders.jobs.js';

/** Wakes orders' jobs, each on the queue of its kind. */
@Injectable()
export class OrderWaking {
  constructor(
    private readonly queue: JobQueue,
    private readonly handlers: OrderHandlers,
  ) {}

  wake(orderId: string, kind: string, options: WakeOptions = {}): void {
    this.queue.wake(this.jobOf(kind), { orderId }, options);
  }

  /** As {@link wake}, for a sweep: an order that waits in the queue already is not added again. */
  async add(orderId: string, kind: string): Promise<void> {
    await this.queue.add(this.jobOf(kind), { orderId }, { key: orderId });
  }

  private jobOf(kind: string): typeof carryOutOrderJob {
    return this.handlers.isUrgent(kind) ? carryOutUrgentOrderJob : carryOutOrderJob;
  }
}
