import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Lane } from './contract.js';
import type { LinkIdentity } from './keys.js';
import { LaneLink, type AgentHandlers, type DialledSite, type LaneOptions } from './lane-link.js';
import type { LinkStatus } from './redial.js';
import { DEFAULT_TIMINGS, type LinkLog, type LinkTimings } from './timings.js';

export interface TunnelDialerOptions {
  readonly agentId: string;
  readonly identity: LinkIdentity;
  readonly version: string;
  readonly sites: readonly DialledSite[];
  readonly handlers: AgentHandlers;
  /** Default: both. */
  readonly lanes?: readonly Lane[];
  /** Tells this process from another one with the same identity. Default: a new one. */
  readonly instanceId?: string;
  readonly timings?: Partial<LinkTimings>;
  readonly log?: LinkLog;
}

/**
 * The agent's end of the tunnel: keeps one link per site and lane up, serves the site's requests over it and brings
 * connections to workloads. It only dials out. Emits `status` at each change of a link.
 */
export class TunnelDialer extends EventEmitter<{ status: [LinkStatus] }> {
  private links: LaneLink[] = [];
  private readonly lanes: readonly Lane[];
  private readonly laneOptions: LaneOptions;
  private closed = false;

  constructor(options: TunnelDialerOptions) {
    super();
    this.lanes = options.lanes ?? ['sync', 'bulk'];
    this.laneOptions = {
      agentId: options.agentId,
      identity: options.identity,
      version: options.version,
      handlers: options.handlers,
      instanceId: options.instanceId ?? randomUUID(),
      timings: { ...DEFAULT_TIMINGS, ...options.timings },
      log: options.log ?? (() => undefined),
      changed: (status) => this.emit('status', status),
    };
    this.setSites(options.sites);
  }

  /** Takes on what the control plane now assigns: new sites are dialled, gone ones closed, the same ones left alone. */
  setSites(sites: readonly DialledSite[]): void {
    if (this.closed) return;
    const wanted = new Map(sites.map((site) => [keyOf(site), site]));
    const kept = this.links.filter((link) => wanted.has(keyOf(link.site)));
    for (const link of this.links) if (!kept.includes(link)) void link.close();
    const known = new Set(kept.map((link) => keyOf(link.site)));
    const added = [...wanted].filter(([key]) => !known.has(key)).map(([, site]) => site);
    this.links = [
      ...kept,
      ...added.flatMap((site) => this.lanes.map((lane) => new LaneLink(site, lane, this.laneOptions))),
    ];
  }

  status(): LinkStatus[] {
    return this.links.map((link) => link.status());
  }

  /** Ends all links and what runs over them. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.links.map((link) => link.close()));
  }
}

const keyOf = (site: DialledSite): string => [site.siteId, site.host, site.port, site.certificateFingerprint].join('|');
