import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { AppLogger } from '#libs/platform/nest';
import { LinkSocket, SiteSettings } from '#libs/sites/site/gateway';
import { AgentPulses } from './agent-pulses.js';
import { LeaseClock } from './lease-clock.js';
import { LinkListeners } from './link-listeners.js';
import { LinkNews } from './link-news.js';
import { LinkRows } from './link-rows.js';
import { PulseAnswers } from './pulse-answers.js';
import { SiteGateway } from './site-gateway.js';

const KEEP_MS = 1_000;

/** What leases need about once a second, whether or not anybody answers. */
@Injectable()
export class LeaseKeeper {
  constructor(
    private readonly clock: LeaseClock,
    private readonly answers: PulseAnswers,
  ) {}

  async keep(): Promise<void> {
    await this.clock.check();
    await this.answers.tellEndedLeases();
  }
}

/**
 * The life of the link process: rows first, then the ways out (forwarders, front doors, the socket for the site
 * process), then the gateway's door. Killed at any moment it leaves nothing behind but rows that say too little.
 */
@Injectable()
export class LinkProcess implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly listeners: LinkListeners;
  private readonly socket: LinkSocket;
  private keeping: NodeJS.Timeout | undefined;
  private kept: Promise<void> = Promise.resolve();
  private stopped = false;
  private listening: number | undefined;

  constructor(
    private readonly rows: LinkRows,
    private readonly gateway: SiteGateway,
    private readonly pulses: AgentPulses,
    private readonly news: LinkNews,
    private readonly leases: LeaseKeeper,
    settings: SiteSettings,
    private readonly logger: AppLogger,
  ) {
    const ways = {
      agent: (agentId: string, workloadName: string, lane: 'sync' | 'bulk') =>
        gateway.tunnel.open(agentId, workloadName, lane),
      peer: gateway.openPeer.bind(gateway),
    };
    this.listeners = new LinkListeners(rows, ways, settings.frontDoorHost, gateway.log);
    this.socket = new LinkSocket(settings.linkSocket, gateway, logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    const { tunnel } = this.gateway;
    tunnel.on('connected', (link) => this.pulses.connected(link, tunnel));
    tunnel.on('disconnected', (link) => this.pulses.disconnected(link));
    this.news.watch(tunnel);
    this.rows.whenRead(() => {
      this.listeners.reconcile();
      this.enforce();
    });
    this.rows.whenPulseChanged(() => this.pulses.wake());
    await this.rows.start();
    await this.socket.listen();
    this.listening = (await tunnel.listen()).port;
    this.keep();
    this.logger.log.info({ port: this.listening }, 'the gateway is open');
  }

  /** The gateway's port. */
  get port(): number | undefined {
    return this.listening;
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.keeping);
    this.news.close();
    await this.socket.close();
    await this.gateway.close();
    await Promise.all([this.pulses.close(), this.listeners.close(), this.kept]);
  }

  private enforce(): void {
    this.gateway.enforce().catch((error: unknown) => {
      this.logger.log.warn({ err: error }, 'whether the connected agents may stay cannot be read');
    });
  }

  private keep(): void {
    this.kept = this.leases
      .keep()
      .catch((error: unknown) => this.logger.log.warn({ err: error }, 'leases cannot be looked after'))
      .then(() => {
        if (!this.stopped) this.keeping = setTimeout(() => this.keep(), KEEP_MS);
      });
  }
}
