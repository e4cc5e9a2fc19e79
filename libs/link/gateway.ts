import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { AgentLinks, type AgentLinkInfo, type DuplicateInfo } from './agent-links.js';
import { ask, askStream, askUnread, type AskOptions } from './asking.js';
import type { AgentHello, CloseReason, Lane, RefusalCode, SiteHello } from './contract.js';
import { HelloRefusedError } from './errors.js';
import type { LinkStream } from './exchange.js';
import { Admission, type Candidate } from './gateway-admission.js';
import { helloIsGenuine } from './handshake.js';
import { PeerLinks, type PeerHandlers } from './peer-links.js';
import { DEFAULT_STRANGER_LIMITS, type StrangerLimits } from './strangers.js';
import { DEFAULT_TIMINGS, type LinkLog, type LinkTimings } from './timings.js';

/** Whether this identity may link, by the site's own database; its key then has to have signed the hello. */
export type Authentication =
  | { readonly accepted: true; readonly publicKey: string }
  | { readonly accepted: false; readonly code: RefusalCode; readonly message: string };

export interface TunnelGatewayOptions {
  /** PEM. */
  readonly tls: { readonly key: string; readonly certificate: string };
  /** Default: all addresses. */
  readonly host?: string;
  /** 0: a free one, see {@link TunnelGateway.listen}. */
  readonly port: number;
  readonly authenticate: (hello: AgentHello | SiteHello) => Promise<Authentication>;
  /** Without it no other site may link. */
  readonly peers?: PeerHandlers;
  readonly timings?: Partial<LinkTimings>;
  /** Connections that have not proved who they are, at once. Default: {@link DEFAULT_STRANGER_LIMITS}. */
  readonly strangers?: Partial<StrangerLimits>;
  readonly log?: LinkLog;
}

export interface TunnelGatewayEvents {
  connected: [link: AgentLinkInfo];
  disconnected: [link: AgentLinkInfo, reason: CloseReason];
  /** A second process showed an agent's identity while the first is alive; it was refused. */
  duplicate: [duplicate: DuplicateInfo];
}

/** The site's end of the tunnel: takes links of agents and of other sites in, and reaches agents' workloads. */
export class TunnelGateway extends EventEmitter<TunnelGatewayEvents> {
  private readonly admission: Admission;
  private readonly agents: AgentLinks;
  private readonly peers: PeerLinks | undefined;

  constructor(private readonly options: TunnelGatewayOptions) {
    super();
    const timings = { ...DEFAULT_TIMINGS, ...options.timings };
    const log = options.log ?? (() => undefined);
    this.agents = new AgentLinks(timings, {
      connected: (link) => this.emit('connected', link),
      disconnected: (link, reason) => this.emit('disconnected', link, reason),
      duplicate: (duplicate) => this.emit('duplicate', duplicate),
    });
    this.peers = options.peers && new PeerLinks(options.peers, timings, log);
    this.admission = new Admission({
      key: options.tls.key,
      certificate: options.tls.certificate,
      times: timings,
      strangers: { ...DEFAULT_STRANGER_LIMITS, ...options.strangers },
      admit: (candidate) => this.admit(candidate),
      log,
    });
  }

  /** @throws EADDRINUSE and the like. */
  async listen(): Promise<AddressInfo> {
    this.admission.server.listen(this.options.port, this.options.host);
    await once(this.admission.server, 'listening');
    return this.admission.server.address() as AddressInfo;
  }

  /**
   * A connection to a workload of an agent, by its name in the agent's configuration: bytes as over TCP, half-open ends
   * included. It ends with the link.
   *
   * @throws NotConnectedError, LinkLostError, LinkTimeoutError; RemoteError `link.workload-refused` or
   * `link.workload-unreachable`.
   */
  open(agentId: string, workloadName: string, lane: Lane): Promise<Duplex> {
    return this.agents.open(agentId, workloadName, lane);
  }

  /** A command to an agent. Errors as {@link ask}, and NotConnectedError. */
  async request(agentId: string, lane: Lane, path: string, json: unknown, options?: AskOptions): Promise<unknown> {
    return ask(this.agents.session(agentId, lane), path, json, options);
  }

  /** As {@link request}, with the answer's JSON as it came: what an agent says is not read here. */
  async requestUnread(agentId: string, lane: Lane, path: string, json: unknown, options?: AskOptions): Promise<Buffer> {
    return askUnread(this.agents.session(agentId, lane), path, json, options);
  }

  /** A command that is answered by bytes or lines: the body errors unless it came whole. */
  async requestStream(
    agentId: string,
    lane: Lane,
    path: string,
    json: unknown,
    options?: AskOptions,
  ): Promise<LinkStream> {
    return askStream(this.agents.session(agentId, lane), path, json, options);
  }

  /** Cuts an agent's links, what runs over them, and those that are about to be admitted. Answers how many links. */
  revoke(agentId: string): number {
    this.admission.cutCandidates((hello) => 'agentId' in hello && hello.agentId === agentId);
    return this.agents.close('revoked', (link) => link.agentId === agentId);
  }

  /** Ends one lane's link and what runs over it, since it does not answer; the agent dials again. */
  drop(agentId: string, lane: Lane): number {
    return this.agents.close('silent', (link) => link.agentId === agentId && link.lane === lane);
  }

  /** As {@link revoke}, of another site. */
  revokePeer(siteId: string): number {
    this.admission.cutCandidates((hello) => 'siteId' in hello && hello.siteId === siteId);
    return this.peers?.close('revoked', (peer) => peer === siteId) ?? 0;
  }

  links(): AgentLinkInfo[] {
    return this.agents.list();
  }

  /** Ends all links and what runs over them, and stops listening. */
  async close(): Promise<void> {
    const closed = this.admission.server.listening ? once(this.admission.server, 'close') : undefined;
    this.admission.server.close();
    this.admission.close();
    this.agents.close('shutdown');
    this.peers?.close('shutdown');
    await closed;
  }

  private async admit(candidate: Candidate): Promise<void> {
    const { hello } = candidate;
    switch (hello.kind) {
      case 'agent':
        return this.agents.admit(candidate, hello, await this.authenticate(candidate, hello));
      case 'agent-stream':
        return this.agents.bring(candidate, hello);
      case 'site':
        return this.knownPeers().admit(candidate, hello, await this.authenticate(candidate, hello));
      case 'site-stream':
        return this.knownPeers().bring(candidate, hello);
    }
  }

  private async authenticate(candidate: Candidate, hello: AgentHello | SiteHello): Promise<string> {
    const decision = await this.options.authenticate(hello);
    if (!decision.accepted) throw new HelloRefusedError(decision.code, decision.message);
    if (!helloIsGenuine(candidate.socket, hello, decision.publicKey)) {
      throw new HelloRefusedError('bad-signature', 'The hello was not signed with the key of this identity.');
    }
    return decision.publicKey;
  }

  private knownPeers(): PeerLinks {
    if (!this.peers) throw new HelloRefusedError('unknown', 'This gateway takes no links of other sites.');
    return this.peers;
  }
}
