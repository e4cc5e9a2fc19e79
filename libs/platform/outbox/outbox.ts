import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Transaction } from '#libs/platform/database';
import { defineJob, defineSweep, JobQueue } from '#libs/platform/queue';
import { currentTraceparent } from '#libs/platform/telemetry';
import type { EventContract } from './event-contract.js';

export const deliverEventJob = defineJob({
  name: 'events.deliver',
  queue: 'events',
  payload: z.strictObject({ eventId: z.uuid() }),
  retry: { attempts: 8, backoffMs: 250 },
});

export const sweepEventsJob = defineSweep('events.sweep', 10_000);

/** Publishes events in the transaction of the change that they tell of. */
@Injectable()
export class Outbox {
  constructor(private readonly queue: JobQueue) {}

  /** `tenantId` is null for an event of the provider's own. */
  async publish<P>(tx: Transaction, contract: EventContract<P>, tenantId: string | null, payload: P): Promise<void> {
    const id = randomUUID();
    await tx.execute(
      `INSERT INTO outbox_event (id, topic, tenant_id, payload, traceparent) VALUES ($1, $2, $3, $4, $5)`,
      [id, contract.topic, tenantId, JSON.stringify(contract.payload.parse(payload)), currentTraceparent()],
    );
    tx.afterCommit(() => this.queue.wake(deliverEventJob, { eventId: id }));
  }
}
