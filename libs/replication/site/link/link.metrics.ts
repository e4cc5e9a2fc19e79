import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';
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
export const linkCollector = provideCollector({
  name: 'tunnel',
  metrics: [tunnelLinks, tunnelStreams, agentsMissing],
  from: [SiteGateway, AgentRegister],
  collect: async (gateway, register) => {
    const admitted = await register.allAdmitted();
    const links = gateway.tunnel.links();
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
  },
});
