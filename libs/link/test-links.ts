import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { certificateFingerprint, createAuthority, issueCertificate } from './certificates.js';
import type { AgentHello, Lane, SiteHello } from './contract.js';
import { TunnelDialer } from './dialer.js';
import { WorkloadRefusedError } from './errors.js';
import type { LinkRequest, LinkResponse } from './exchange.js';
import { TunnelGateway, type Authentication, type TunnelGatewayOptions } from './gateway.js';
import { createIdentity, type LinkIdentity } from './keys.js';
import type { AgentHandlers } from './lane-link.js';
import { connectTcp } from './tcp.js';
import type { LinkTimings } from './timings.js';

/** The real ones, shortened: tests wait for what happens, never for a time. */
export const FAST: Partial<LinkTimings> = {
  pingEvery: 100,
  deadAfter: 500,
  handshake: 5_000,
  duplicateProbe: 500,
  streamOpen: 5_000,
  redialFirst: 20,
  redialLongest: 100,
  refusedLongest: 200,
};

/** For a host that may be busy. */
export const SOON = { timeoutMs: 20_000, everyMs: 10 };

export interface TestSite {
  readonly siteId: string;
  readonly gateway: TunnelGateway;
  readonly host: string;
  readonly port: number;
  readonly certificateFingerprint: string;
  readonly certificate: string;
  /** Public keys of those who may link, by agent or site id. */
  readonly known: Map<string, string>;
}

let certified: Promise<{ certificate: string; privateKey: string }> | undefined;

/** One certificate for all gateways of a test file: making it is the slow part. */
export function gatewayCertificate(): Promise<{ certificate: string; privateKey: string }> {
  certified ??= createAuthority('Test authority').then((authority) =>
    issueCertificate(authority, { commonName: 'gateway', ipAddresses: ['127.0.0.1'], usages: ['server'] }),
  );
  return certified;
}

export async function startSite(options: Partial<TunnelGatewayOptions> = {}): Promise<TestSite> {
  const { certificate, privateKey } = await gatewayCertificate();
  const known = new Map<string, string>();
  const authenticate = async (hello: AgentHello | SiteHello): Promise<Authentication> => {
    const publicKey = known.get(hello.kind === 'agent' ? hello.agentId : hello.siteId);
    return publicKey === undefined
      ? { accepted: false, code: 'unknown', message: 'This site does not know the agent.' }
      : { accepted: true, publicKey };
  };
  const gateway = new TunnelGateway({
    tls: { key: privateKey, certificate },
    host: '127.0.0.1',
    port: 0,
    authenticate,
    timings: FAST,
    ...options,
  });
  const { port } = await gateway.listen();
  onTestFinished(() => gateway.close());
  const fingerprint = certificateFingerprint(certificate);
  return {
    siteId: randomUUID(),
    gateway,
    host: '127.0.0.1',
    port,
    certificateFingerprint: fingerprint,
    certificate,
    known,
  };
}

export interface TestAgentOptions {
  readonly agentId?: string;
  readonly identity?: LinkIdentity;
  readonly workloads?: Readonly<Record<string, number>>;
  readonly request?: (request: LinkRequest) => Promise<LinkResponse>;
  readonly lanes?: readonly Lane[];
  readonly instanceId?: string;
  readonly timings?: Partial<LinkTimings>;
  /** In place of the site's own, for a proxy. */
  readonly port?: number;
  readonly certificateFingerprint?: string;
}

export interface TestAgent {
  readonly agentId: string;
  readonly identity: LinkIdentity;
  readonly dialer: TunnelDialer;
}

/** An agent that the site knows already and that dials it; see {@link linked}. */
export function startAgent(site: TestSite, options: TestAgentOptions = {}): TestAgent {
  const { agentId = randomUUID(), identity = createIdentity(), workloads = {} } = options;
  if (!site.known.has(agentId)) site.known.set(agentId, identity.publicKey);
  const handlers: AgentHandlers = {
    connectWorkload: async (name) => {
      const port = workloads[name];
      if (port === undefined) throw new WorkloadRefusedError(name);
      return connectTcp({ host: '127.0.0.1', port });
    },
    request: options.request ?? (async () => ({ json: null })),
  };
  const dialer = new TunnelDialer({
    agentId,
    identity,
    version: 'test',
    sites: [
      {
        siteId: site.siteId,
        host: site.host,
        port: options.port ?? site.port,
        certificateFingerprint: options.certificateFingerprint ?? site.certificateFingerprint,
      },
    ],
    handlers,
    lanes: options.lanes ?? ['sync'],
    timings: { ...FAST, ...options.timings },
    ...(options.instanceId === undefined ? {} : { instanceId: options.instanceId }),
  });
  onTestFinished(() => dialer.close());
  return { agentId, identity, dialer };
}

/** Waits until the agent's lane is up at the gateway. */
export async function linked(site: TestSite, agent: TestAgent, lane: Lane = 'sync') {
  return waitFor(
    'the link',
    () => site.gateway.links().find((link) => link.agentId === agent.agentId && link.lane === lane),
    SOON,
  );
}

/** A TCP server on a free port, closed after the test; every connection goes to the listener. */
export async function startServer(listener: (socket: net.Socket) => void): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    listener(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

export const startEcho = (): Promise<number> => startServer((socket) => socket.pipe(socket));
