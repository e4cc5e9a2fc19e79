import { Injectable, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { continueTrace } from '#libs/platform/telemetry';
import { Handles, type JobHandler, JobQueue } from '#libs/platform/queue';
import { type DeliveredEvent, type EventContract, type EventSubscriber, SUBSCRIBES } from './event-contract.js';
import { deliverEventJob, sweepEventsJob } from './outbox.js';

interface EventRow {
  readonly id: string;
  readonly topic: string;
  readonly tenant_id: string | null;
  readonly payload: unknown;
  readonly created_at: Date;
  readonly traceparent: string | null;
}

/** Finds the subscribers of the process's modules, by topic. */
@Injectable()
export class EventSubscribers implements OnModuleInit {
  private readonly byTopic = new Map<string, { contract: EventContract; subscriber: EventSubscriber<unknown> }[]>();

  constructor(private readonly discovery: DiscoveryService) {}

  onModuleInit(): void {
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const contract = Reflect.getMetadata(SUBSCRIBES, metatype) as EventContract | undefined;
      if (!contract) continue;
      const known = this.byTopic.get(contract.topic) ?? [];
      this.byTopic.set(contract.topic, [
        ...known,
        { contract, subscriber: wrapper.instance as EventSubscriber<unknown> },
      ]);
    }
  }

  async receive(tx: ProviderTransaction, row: EventRow): Promise<void> {
    for (const { contract, subscriber } of this.byTopic.get(row.topic) ?? []) {
      const event: DeliveredEvent<unknown> = {
        id: row.id,
        tenantId: row.tenant_id,
        at: row.created_at,
        payload: contract.payload.parse(row.payload),
      };
      await subscriber.receive(tx, event);
    }
  }
}

/** Delivers one event to all its subscribers, in one transaction with its mark. */
@Handles(deliverEventJob)
export class DeliverEventHandler implements JobHandler<{ eventId: string }> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly subscribers: EventSubscribers,
  ) {}

  async handle({ eventId }: { eventId: string }): Promise<void> {
    await this.work.provider(async (tx) => {
      const [row] = await tx.query<EventRow>(
        `SELECT id, topic, tenant_id, payload, created_at, traceparent FROM outbox_event
          WHERE id = $1 AND delivered_at IS NULL FOR UPDATE SKIP LOCKED`,
        [eventId],
      );
      if (!row) return;
      const attributes = { 'mainstay.event_id': row.id, 'mainstay.tenant_id': row.tenant_id ?? undefined };
      await continueTrace(row.traceparent, `event ${row.topic}`, { kind: 'consumer', attributes }, () =>
        this.subscribers.receive(tx, row),
      );
      await tx.execute(`UPDATE outbox_event SET delivered_at = now() WHERE id = $1`, [eventId]);
    });
  }
}

/** Wakes the events whose wake-up was lost or whose tries ran out. */
@Handles(sweepEventsJob)
export class SweepEventsHandler implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly queue: JobQueue,
  ) {}

  async handle(): Promise<void> {
    const rows = await this.work.provider((tx) =>
      tx.query<{ id: string }>(
        `SELECT id FROM outbox_event WHERE delivered_at IS NULL AND created_at < now() - interval '5 seconds'
          ORDER BY created_at LIMIT 500`,
      ),
    );
    for (const { id } of rows) await this.queue.add(deliverEventJob, { eventId: id }, { key: id });
  }
}
