import { type DynamicModule, Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { DeliverEventHandler, EventSubscribers, SweepEventsHandler } from './event-delivery.js';
import { outboxCollector } from './outbox.metrics.js';
import { deliverEventJob, Outbox, sweepEventsJob } from './outbox.js';

export const OUTBOX_JOBS = [deliverEventJob, sweepEventsJob] as const;

@Global()
@Module({ providers: [Outbox], exports: [Outbox] })
export class OutboxModule {
  /** In the process that delivers events, beside those that publish them. */
  static delivering(): DynamicModule {
    return {
      module: OutboxModule,
      imports: [DiscoveryModule],
      providers: [EventSubscribers, DeliverEventHandler, SweepEventsHandler, outboxCollector],
    };
  }
}
