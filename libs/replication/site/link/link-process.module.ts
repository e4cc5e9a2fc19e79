import { type DynamicModule, Global, Module } from '@nestjs/common';
import {
  AgentRegister,
  SITE_DATABASE_URL,
  SiteOutbox,
  SiteSettings,
  type SiteSettingsValues,
} from '#libs/sites/site/gateway';
import { AgentPulses } from './agent-pulses.js';
import { GATEWAY_SETTINGS, type GatewaySettings } from './gateway-settings.js';
import { LeaseClock } from './lease-clock.js';
import { linkCollector } from './link.metrics.js';
import { LeaseKeeper, LinkProcess } from './link-process.js';
import { LinkNews } from './link-news.js';
import { LinkRows } from './link-rows.js';
import { LinkRowsModule } from './link-rows.module.js';
import { PulseAnswers } from './pulse-answers.js';
import { PulseRequests } from './pulse-requests.js';
import { SiteGateway } from './site-gateway.js';

export interface LinkProcessOptions {
  readonly settings: SiteSettingsValues;
  readonly databaseUrl: string;
  readonly gateway: GatewaySettings;
}

/** Settings that both this module and that of the shared rows inject. */
@Global()
@Module({})
class LinkSettingsModule {
  static forProcess({ settings, databaseUrl, gateway }: LinkProcessOptions): DynamicModule {
    const providers = [
      { provide: SiteSettings, useValue: new SiteSettings(settings) },
      { provide: SITE_DATABASE_URL, useValue: databaseUrl },
      { provide: GATEWAY_SETTINGS, useValue: gateway },
    ];
    return { module: LinkSettingsModule, providers, exports: providers.map(({ provide }) => provide) };
  }
}

/** The link process: gateway, pulses, forwarders, front doors. Needs the unit of work and the logger. */
@Module({})
export class LinkProcessModule {
  static forProcess(options: LinkProcessOptions): DynamicModule {
    return {
      module: LinkProcessModule,
      imports: [LinkSettingsModule.forProcess(options), LinkRowsModule],
      providers: [
        SiteOutbox,
        AgentRegister,
        LinkRows,
        PulseRequests,
        PulseAnswers,
        AgentPulses,
        LeaseClock,
        LeaseKeeper,
        LinkNews,
        SiteGateway,
        LinkProcess,
        linkCollector,
      ],
    };
  }
}
