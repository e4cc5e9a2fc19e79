import { type DynamicModule, Global, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { Clock } from '#libs/platform/clock';
import { AgentChallenges } from './agents/agent-challenge.js';
import { AgentLinkHandler, AgentLinkStore, OrderFailureLog } from './agents/agent-links.js';
import { AgentGuard } from './agents/agent-signed.guard.js';
import { Agents } from './agents/agent.service.js';
import { Enrolment } from './agents/enrolment.service.js';
import { CONTROL_TLS, type ControlTls, SiteEndpoints } from './connections/site-endpoint.js';
import { SiteQuestions } from './connections/site-questions.js';
import { WarmConnections } from './connections/warm-connections.js';
import { DeliverOrdersHandler, OrderDelivery, SweepOrdersHandler } from './orders/order-delivery.js';
import { OrderSigner } from './orders/order-signing.js';
import { Orders } from './orders/orders.js';
import { ResultHandlers, SnapshotStores } from './results/applies-result.js';
import { ResultApplying } from './results/result-applying.js';
import { ResultStreams } from './results/result-streams.js';
import { Sites } from './site.service.js';
import { sitesCollector } from './sites.metrics.js';

export interface SitesOptions {
  /** The provider's Ed25519 key, PKCS #8, PEM. Secret. */
  readonly orderSigningKey: string;
  readonly tls: ControlTls;
}

/** Sites and agents of the control plane; global, since every domain above gives orders. */
@Global()
@Module({})
export class SitesModule {
  /** For a process that gives orders and asks sites, but does not listen to them: api. */
  static giving(options: SitesOptions): DynamicModule {
    return {
      module: SitesModule,
      imports: [DiscoveryModule],
      providers: [
        { provide: OrderSigner, useFactory: () => new OrderSigner(options.orderSigningKey) },
        {
          provide: AgentChallenges,
          inject: [Clock],
          useFactory: (clock: Clock) => new AgentChallenges(clock, options.orderSigningKey),
        },
        { provide: CONTROL_TLS, useValue: options.tls },
        SiteEndpoints,
        SiteQuestions,
        WarmConnections,
        ResultHandlers,
        OrderDelivery,
        Orders,
        Sites,
        Agents,
        Enrolment,
        AgentGuard,
        SnapshotStores,
        AgentLinkStore,
        OrderFailureLog,
      ],
      exports: [
        Orders,
        Sites,
        Agents,
        Enrolment,
        AgentGuard,
        AgentChallenges,
        SiteEndpoints,
        SiteQuestions,
        SnapshotStores,
      ],
    };
  }

  /** For the process that sees to every order and applies the results: worker. */
  static delivering(options: SitesOptions): DynamicModule {
    const giving = SitesModule.giving(options);
    return {
      ...giving,
      providers: [
        ...(giving.providers ?? []),
        ResultApplying,
        ResultStreams,
        AgentLinkHandler,
        DeliverOrdersHandler,
        SweepOrdersHandler,
        sitesCollector,
      ],
    };
  }
}
