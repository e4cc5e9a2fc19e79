import { Inject, Injectable } from '@nestjs/common';
import type { PeerSite } from '#contracts/sites';
import {
  type AgentHello,
  type Authentication,
  connectTcp,
  type LinkLog,
  type LinkRequest,
  type LinkResponse,
  MessageTooLargeError,
  RemoteError,
  type SiteHello,
  TunnelGateway,
  WorkloadRefusedError,
} from '#libs/link';
import { errorText, NotFoundError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import {
  AgentRegister,
  type FarEnd,
  type FarEnds,
  forwardPeerCommand,
  type Lane,
  type LinkStates,
  SiteSettings,
  UnreachedError,
} from '#libs/sites/site/gateway';
import { FORWARD_HOST } from './forwarders.js';
import { GATEWAY_SETTINGS, type GatewaySettings } from './gateway-settings.js';
import { LinkRows } from './link-rows.js';
import { PeerDialers } from './peer-dialers.js';
import { quietLog } from './quiet-log.js';

/** The asking process sets the limit by going away; this only ends what nobody waits for. */
const ASK_TIMEOUT_MS = 24 * 3_600_000;
/** What the site whose archive has its second copy here may ask. */
const ABOUT_COPIES = '/v1/peer/archive/';
/** How a peer names the workload that its command is about. */
const PEER_COMMAND = /^\/w\/([0-9a-f-]{36})(\/v1\/peer\/[a-z0-9/-]+)$/;

/** The gateway with this site's own rules: who may come in, what may be opened, and the ways out. */
@Injectable()
export class SiteGateway implements FarEnds {
  readonly tunnel: TunnelGateway;
  readonly log: LinkLog;
  private readonly peers: PeerDialers;
  private readonly seenPeers = new Set<string>();

  constructor(
    @Inject(GATEWAY_SETTINGS) settings: GatewaySettings,
    private readonly site: SiteSettings,
    private readonly register: AgentRegister,
    private readonly rows: LinkRows,
    private readonly logger: AppLogger,
  ) {
    this.log = quietLog(logger.log);
    this.peers = new PeerDialers(site.siteId, settings.sitePrivateKey, settings.version);
    this.tunnel = new TunnelGateway({
      tls: { key: settings.key, certificate: settings.certificate },
      host: settings.host,
      port: settings.port,
      authenticate: (hello) => this.authenticate(hello),
      peers: {
        connectWorkload: (workloadId, siteId) => this.standbyOf(workloadId, siteId),
        request: (request, siteId) => this.peerCommand(request, siteId),
      },
      log: this.log,
    });
  }

  /** Cuts whoever may not be connected any more. */
  async enforce(): Promise<void> {
    const connected = [...new Set(this.tunnel.links().map(({ agentId }) => agentId))];
    const admitted = await this.register.admitted(connected);
    for (const agentId of connected.filter((id) => !admitted.has(id))) {
      this.logger.log.warn({ agentId }, 'a revoked agent is cut off');
      this.tunnel.revoke(agentId);
    }
    for (const siteId of this.seenPeers) {
      if (this.rows.peerKeys(siteId).length > 0) continue;
      this.seenPeers.delete(siteId);
      this.tunnel.revokePeer(siteId);
    }
  }

  async close(): Promise<void> {
    await this.tunnel.close();
    await this.peers.close();
  }

  agent(agentId: string, lane: Lane): FarEnd {
    const timeoutMs = ASK_TIMEOUT_MS;
    return {
      ask: (path, json, options) =>
        reached(this.tunnel.requestUnread(agentId, lane, path, json, { timeoutMs, ...options })),
      askStream: (path, json, signal) =>
        reached(this.tunnel.requestStream(agentId, lane, path, json, { timeoutMs, signal })),
    };
  }

  peer(peer: PeerSite, workloadId: string): FarEnd {
    const timeoutMs = ASK_TIMEOUT_MS;
    const dialer = this.peers.get(peer);
    return {
      ask: (path, json, options) =>
        reached(dialer.requestUnread(`/w/${workloadId}${path}`, json, { timeoutMs, ...options })),
      askStream: (path, json, signal) =>
        reached(dialer.requestStream(`/w/${workloadId}${path}`, json, { timeoutMs, signal })),
    };
  }

  /** A connection to the other site's standby. */
  openPeer(peer: PeerSite, workloadId: string) {
    return this.peers.get(peer).open(workloadId);
  }

  states(): LinkStates {
    const byAgent = Map.groupBy(this.tunnel.links(), ({ agentId }) => agentId);
    return [...byAgent].map(([agentId, links]) => {
      const sync = links.find(({ lane }) => lane === 'sync') ?? links[0];
      const since = Math.min(...links.map(({ connectedSince }) => connectedSince.getTime()));
      return {
        agentId,
        connectedSince: new Date(since).toISOString(),
        lanes: links.map(({ lane }) => lane),
        roundTripMilliseconds: sync?.roundTripMs ?? null,
      };
    });
  }

  private async authenticate(hello: AgentHello | SiteHello): Promise<Authentication> {
    if (hello.kind === 'site') {
      const [publicKey] = this.rows.peerKeys(hello.siteId);
      if (publicKey === undefined) {
        return { accepted: false, code: 'unknown', message: 'This site shares no workload with that site.' };
      }
      this.seenPeers.add(hello.siteId);
      return { accepted: true, publicKey };
    }
    const agent = await this.register.find(hello.agentId);
    if (!agent) {
      return {
        accepted: false,
        code: 'unknown',
        message: 'This site does not know the agent yet. It will be tried again.',
      };
    }
    if (agent.revoked) {
      return { accepted: false, code: 'revoked', message: 'The agent was revoked. Enrol it anew with a new token.' };
    }
    return { accepted: true, publicKey: agent.publicKey };
  }

  private shared(workloadId: string, siteId: string) {
    const row = this.rows.get(workloadId);
    return row?.peer?.siteId === siteId ? row : undefined;
  }

  private standbyOf(workloadId: string, siteId: string) {
    const row = this.shared(workloadId, siteId);
    if (!row || row.standbyPort === null) {
      return Promise.reject(
        new WorkloadRefusedError(workloadId, 'these two sites do not share it, or it is not there yet'),
      );
    }
    return connectTcp({ host: FORWARD_HOST, port: row.standbyPort });
  }

  private async peerCommand(request: LinkRequest, siteId: string): Promise<LinkResponse> {
    const [, workloadId = '', path = ''] = PEER_COMMAND.exec(request.path) ?? [];
    const aboutCopy = path.startsWith(ABOUT_COPIES) && this.rows.keepsCopyOf(workloadId, siteId);
    if (!aboutCopy && !this.shared(workloadId, siteId)) throw new NotFoundError('workload');
    const caller = { siteId, workloadId };
    return forwardPeerCommand(this.site.siteSocket, caller, path, await request.json(), request.signal);
  }
}

/** What the far end said passes through; all else means that it could not be reached. */
async function reached<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const answered = error instanceof RemoteError || error instanceof MessageTooLargeError;
    throw answered ? error : new UnreachedError(errorText(error), error);
  }
}
