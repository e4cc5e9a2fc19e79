// The site's end of the tunnel, gateway and local port, in a process of its own, as in production.
import { LocalForwarder, TunnelGateway } from '#libs/link';

export interface SiteEndConfiguration {
  readonly host: string;
  readonly agentId: string;
  readonly publicKey: string;
  readonly key: string;
  readonly certificate: string;
}

export interface SiteEndAnswer {
  readonly gatewayPort: number;
  readonly localPort: number;
}

async function serve({ host, agentId, publicKey, key, certificate }: SiteEndConfiguration): Promise<SiteEndAnswer> {
  const gateway = new TunnelGateway({
    tls: { key, certificate },
    host,
    port: 0,
    authenticate: async () => ({ accepted: true, publicKey }),
  });
  const forwarder = new LocalForwarder({ host, open: () => gateway.open(agentId, 'bench', 'sync') });
  return { gatewayPort: (await gateway.listen()).port, localPort: (await forwarder.listen()).port };
}

process.once('message', (configuration: SiteEndConfiguration) => {
  void serve(configuration).then((answer) => process.send?.(answer));
});
process.once('disconnect', () => process.exit());
