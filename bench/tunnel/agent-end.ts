// The agency's end of the tunnel in a process of its own, as in production.
import { connectTcp, identityFromPem, TunnelDialer, type DialledSite } from '#libs/link';

export interface AgentEndConfiguration {
  readonly agentId: string;
  readonly privateKey: string;
  readonly site: DialledSite;
  readonly postgresPort: number;
}

process.once('message', (configuration: AgentEndConfiguration) => {
  const dialer = new TunnelDialer({
    agentId: configuration.agentId,
    identity: identityFromPem(configuration.privateKey),
    version: 'bench',
    sites: [configuration.site],
    handlers: {
      connectWorkload: () => connectTcp({ host: '127.0.0.1', port: configuration.postgresPort }),
      request: async () => ({ json: null }),
    },
  });
  dialer.on('status', () => {
    if (dialer.status().every((link) => link.state === 'connected')) process.send?.({ ready: true });
  });
});
process.once('disconnect', () => process.exit());
