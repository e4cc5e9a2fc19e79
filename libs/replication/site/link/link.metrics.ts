import { Injectable, type OnModuleInit } from '@nestjs/common';
import { type Collector, defineGauge, Metrics, type Sample } from '#libs/platform/telemetry';
import { AgentRegister } from '#libs/sites/site/gateway';
import { SiteGateway } from './site-gateway.js';

export const tunnelLinks = defineGauge('mainstay_tunnel_links', 'Links of agents that are up, by lane.', ['lane']);
export const tunnelStreams = defineGauge(
  'mainstay_tunnel_streams',
  'Connections to workloads that run over the links now, by lane.',
  ['lane'],
);
export const agentsMissing = defineGauge(
  'mainstay_tunnel_agents_missing',
  'Agents that this site admits and that have no link to it, by the lane that they lack.',
  ['lane'],
);

const LANES = ['sync', 'bulk'] as const;

/** Who is connected, and who should be. */
@Injectable()
export class LinkCollector implements Collector, OnModuleInit {
  readonly name = 'tunnel';
  readonly metrics = [tunnelLinks, tunnelStreams, agentsMissing];

  constructor(
    private readonly gateway: SiteGateway,
    private readonly register: AgentRegister,
    private readonly registry: Metrics,
  ) {}

  onModuleInit(): void {
    this.registry.register(this);
  }

  async collect(): Promise<Sample[]> {
    const admitted = await this.register.allAdmitted();
    const links = this.gateway.tunnel.links();
    return LANES.flatMap((lane): Sample[] => {
      const up = links.filter((link) => link.lane === lane);
      const present = new Set(up.map(({ agentId }) => agentId));
      const labels = { lane };
      return [
        { metric: tunnelLinks, labels, value: up.length },
        { metric: tunnelStreams, labels, value: up.reduce((sum, { streams }) => sum + streams, 0) },
        { metric: agentsMissing, labels, value: admitted.filter((agentId) => !present.has(agentId)).length },
      ];
    });
  }
}
