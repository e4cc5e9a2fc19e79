import { type DynamicModule, Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import type { OrderContract, QuestionContract } from '#contracts/sites';
import { admitAgentOrder, revokeAgentOrder } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';
import { AdmitAgentHandler, RevokeAgentHandler } from './agents/agent-admission.js';
import { AgentCommands } from './agents/agent-commands.js';
import { LinkedAgentCommands } from './agents/linked-agent-commands.js';
import { LinkedAgents } from './agents/linked-agents.js';
import type { SiteDriver } from './driver/index.js';
import { CarryOutOrderHandler, CarryOutUrgentOrderHandler, OrderWork, SweepOrdersHandler } from './orders/carry-out.js';
import { OrderClaims } from './orders/order-claims.js';
import { OrderWaking } from './orders/order-waking.js';
import { ORDER_CONTRACTS, OrderHandlers } from './orders/order-handlers.js';
import { ORDER_PUBLIC_KEY, OrderIntake } from './orders/order-intake.js';
import { carryOutOrderJob, carryOutUrgentOrderJob, sweepOrdersJob } from './orders/orders.jobs.js';
import { siteOrdersCollector } from './orders/site.metrics.js';
import { OutboxReader, SITE_DATABASE_URL } from './outbox/outbox-reader.js';
import { PruneOutboxHandler, pruneOutboxJob } from './outbox/outbox-retention.js';
import { SiteOutbox } from './outbox/site-outbox.js';
import { SiteSnapshots } from './outbox/site-snapshots.js';
import { SITE_DRIVER, SnapshotSources } from './outbox/snapshot-sources.js';
import { LinkedPeerSites } from './peers/linked-peer-sites.js';
import { PeerCommandServer } from './peers/peer-commands.js';
import { PeerSites } from './peers/peer-sites.js';
import { QUESTION_CONTRACTS, SiteAnswers } from './questions/site-answers.js';
import { SiteSettings, type SiteSettingsValues } from './site-settings.js';

export interface SitesModuleOptions {
  readonly settings: SiteSettingsValues;
  readonly databaseUrl: string;
  /** PEM (SPKI) of the control plane's Ed25519 key. */
  readonly orderPublicKey: string;
  readonly driver: SiteDriver;
  /** The orders of the domains above this library, all of which must have a handler. */
  readonly orders: readonly OrderContract<never>[];
  /** The same of the questions; none when left out. */
  readonly questions?: readonly QuestionContract<never, never>[];
}

/** The jobs that a site process runs for this library. */
export const SITES_JOBS = [
  carryOutOrderJob,
  carryOutUrgentOrderJob,
  sweepOrdersJob,
  pruneOutboxJob,
] as unknown as readonly JobContract<never>[];

/** The site process's share: orders in, results out, agents and peers through the link. */
@Global()
@Module({})
export class SitesModule {
  static forProcess(options: SitesModuleOptions): DynamicModule {
    return {
      module: SitesModule,
      imports: [DiscoveryModule],
      providers: [
        { provide: SiteSettings, useValue: new SiteSettings(options.settings) },
        { provide: SITE_DRIVER, useValue: options.driver },
        { provide: SITE_DATABASE_URL, useValue: options.databaseUrl },
        { provide: ORDER_PUBLIC_KEY, useValue: options.orderPublicKey },
        { provide: ORDER_CONTRACTS, useValue: [admitAgentOrder, revokeAgentOrder, ...options.orders] },
        { provide: QUESTION_CONTRACTS, useValue: options.questions ?? [] },
        { provide: AgentCommands, useClass: LinkedAgentCommands },
        { provide: PeerSites, useClass: LinkedPeerSites },
        LinkedAgents,
        OrderHandlers,
        SiteAnswers,
        OrderIntake,
        OrderClaims,
        OrderWaking,
        OrderWork,
        CarryOutOrderHandler,
        CarryOutUrgentOrderHandler,
        SweepOrdersHandler,
        AdmitAgentHandler,
        RevokeAgentHandler,
        SiteOutbox,
        OutboxReader,
        PruneOutboxHandler,
        SnapshotSources,
        SiteSnapshots,
        PeerCommandServer,
        siteOrdersCollector,
      ],
      exports: [
        SiteSettings,
        SITE_DRIVER,
        AgentCommands,
        PeerSites,
        LinkedAgents,
        OrderIntake,
        SiteAnswers,
        SiteOutbox,
        OutboxReader,
        SnapshotSources,
        SiteSnapshots,
      ],
    };
  }
}
