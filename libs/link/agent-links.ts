import { randomBytes } from 'node:crypto';
import type { ClientHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { ask } from './asking.js';
import { STREAM_PATH, type AgentHello, type AgentStreamHello, type CloseReason, type Lane } from './contract.js';
import { HelloRefusedError, LinkLostError, LinkTimeoutError, NotConnectedError } from './errors.js';
import type { Candidate } from './gateway-admission.js';
import { helloIsGenuine } from './handshake.js';
import { clientSession, LinkSession } from './session.js';
import { abort, abortWhenDestroyed } from './splice.js';
import type { LinkTimings } from './timings.js';

export interface AgentLinkInfo {
  readonly agentId: string;
  readonly lane: Lane;
  readonly instanceId: string;
  readonly version: string;
  readonly remoteAddress: string;
  readonly connectedSince: Date;
  readonly roundTripMs: number | null;
  /** Connections to workloads that run over this link now. */
  readonly streams: number;
}

export interface DuplicateInfo {
  readonly agentId: string;
  readonly lane: Lane;
  readonly holder: { readonly instanceId: string; readonly remoteAddress: string };
  readonly refused: { readonly instanceId: string; readonly remoteAddress: string };
}

interface AgentLink {
  readonly hello: AgentHello;
  readonly publicKey: string;
  readonly remoteAddress: string;
  readonly session: LinkSession<ClientHttp2Session>;
  readonly streams: Set<Duplex>;
}

interface Awaited {
  readonly link: AgentLink;
  readonly arrived: (socket: TLSSocket) => void;
  readonly failed: (error: unknown) => void;
}

export interface AgentLinkEvents {
  connected(link: AgentLinkInfo): void;
  disconnected(link: AgentLinkInfo, reason: CloseReason): void;
  duplicate(duplicate: DuplicateInfo): void;
}

/** The live links of agents, at most one per agent and lane, and the connections to workloads over them. */
export class AgentLinks {
  private readonly links = new Map<string, AgentLink>();
  private readonly awaited = new Map<string, Awaited>();
  /** Admissions to one agent's lane happen one after the other: each must see whom the one before let in. */
  private readonly turns = new Map<string, Promise<void>>();

  constructor(
    private readonly timings: LinkTimings,
    private readonly events: AgentLinkEvents,
  ) {}

  list(): AgentLinkInfo[] {
    return [...this.links.values()].map(describe);
  }

  /** @throws NotConnectedError */
  session(agentId: string, lane: Lane): ClientHttp2Session {
    return this.find(agentId, lane).session.http;
  }

  /** Takes a genuine hello's connection in as the agent's link. */
  async admit(candidate: Candidate, hello: AgentHello, publicKey: string): Promise<void> {
    const key = keyOf(hello.agentId, hello.lane);
    const before = this.turns.get(key) ?? Promise.resolve();
    const turn = before.then(() => this.takeIn(key, candidate, hello, publicKey));
    // The next in line only waits for it; its failure is thrown below.
    const settled = turn.catch(() => undefined);
    this.turns.set(key, settled);
    try {
      await turn;
    } finally {
      if (this.turns.get(key) === settled) this.turns.delete(key);
    }
  }

  private async takeIn(key: string, candidate: Candidate, hello: AgentHello, publicKey: string): Promise<void> {
    const holder = this.links.get(key);
    if (holder) {
      const same = holder.hello.instanceId === hello.instanceId;
      if (!same && (await holder.session.answers(this.timings.duplicateProbe))) this.refuse(candidate, hello, holder);
      holder.session.close(same ? 'replaced' : 'silent');
    }
    await candidate.welcome();
    const { socket, remoteAddress } = candidate;
    const session = new LinkSession(clientSession(socket), socket, this.timings);
    const link: AgentLink = { hello, publicKey, remoteAddress, session, streams: new Set() };
    this.links.set(key, link);
    session.whenEnded(() => {
      if (this.links.get(key) === link) this.links.delete(key);
      for (const stream of link.streams) abort(stream);
    });
    void session.ended.then((reason) => this.events.disconnected(describe(link), reason));
    this.events.connected(describe(link));
  }

  private refuse(candidate: Candidate, hello: AgentHello, holder: AgentLink): never {
    const { agentId, lane, instanceId } = hello;
    this.events.duplicate({
      agentId,
      lane,
      holder: { instanceId: holder.hello.instanceId, remoteAddress: holder.remoteAddress },
      refused: { instanceId, remoteAddress: candidate.remoteAddress },
    });
    throw new HelloRefusedError(
      'duplicate',
      'Another agent with this identity is connected. Stop one of the two; if you did not copy it, revoke the agent.',
    );
  }

  /**
   * A connection to one of the agent's workloads.
   *
   * @throws NotConnectedError, LinkLostError, LinkTimeoutError; RemoteError with the agent's refusal.
   */
  async open(agentId: string, workload: string, lane: Lane): Promise<Duplex> {
    const link = this.find(agentId, lane);
    const ticket = randomBytes(32).toString('base64url');
    const timeoutMs = this.timings.streamOpen;
    const giveUp = new AbortController();
    const arrival = this.arrival(ticket, link, giveUp.signal);
    // The answer follows the connection, so only a failure of it matters.
    ask(link.session.http, STREAM_PATH, { ticket, workload }, { timeoutMs, signal: giveUp.signal }).catch(
      (error: unknown) => giveUp.abort(error),
    );
    try {
      return await arrival;
    } catch (error) {
      giveUp.abort(error);
      throw error;
    }
  }

  private arrival(ticket: string, link: AgentLink, signal: AbortSignal): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const timeoutMs = this.timings.streamOpen;
      const fail = (error: unknown): void => {
        stop();
        reject(error as Error);
      };
      const timer = setTimeout(() => fail(new LinkTimeoutError('the request for a connection', timeoutMs)), timeoutMs);
      const aborted = (): void => fail(signal.reason);
      const stopWaiting = link.session.whenEnded(() => fail(new LinkLostError('it ended meanwhile')));
      const stop = (): void => {
        clearTimeout(timer);
        stopWaiting();
        signal.removeEventListener('abort', aborted);
        this.awaited.delete(ticket);
      };
      signal.addEventListener('abort', aborted);
      const arrived = (socket: TLSSocket): void => {
        stop();
        resolve(abortWhenDestroyed(socket));
      };
      if (link.session.alive) this.awaited.set(ticket, { link, arrived, failed: fail });
    });
  }

  /** The agent brings the connection that a ticket asked for. The ticket counts once, from that agent's key alone. */
  async bring(candidate: Candidate, hello: AgentStreamHello): Promise<void> {
    const awaited = this.awaited.get(hello.ticket);
    const link = awaited?.link;
    const asked = link?.hello.agentId === hello.agentId && link.hello.instanceId === hello.instanceId;
    if (!awaited || !link || !asked || !helloIsGenuine(candidate.socket, hello, link.publicKey)) {
      throw new HelloRefusedError('bad-signature', 'Nobody asked for this connection, or not of this agent.');
    }
    this.awaited.delete(hello.ticket);
    // Known to the link before the welcome, so that a revocation in between cuts it too.
    link.streams.add(candidate.socket);
    candidate.socket.once('close', () => link.streams.delete(candidate.socket));
    await candidate.welcome().then(() => awaited.arrived(candidate.socket), awaited.failed);
  }

  /** Ends the links that match, and all that runs over them, at once. Answers how many there were. */
  close(reason: CloseReason, matches: (link: AgentLinkInfo) => boolean = () => true): number {
    const found = [...this.links.values()].filter((link) => matches(describe(link)));
    for (const link of found) link.session.close(reason);
    return found.length;
  }

  private find(agentId: string, lane: Lane): AgentLink {
    const link = this.links.get(keyOf(agentId, lane));
    if (!link?.session.alive) throw new NotConnectedError(`agent ${agentId} (${lane})`);
    return link;
  }
}

const keyOf = (agentId: string, lane: Lane): string => `${agentId}|${lane}`;

function describe({ hello, remoteAddress, session, streams }: AgentLink): AgentLinkInfo {
  const { agentId, lane, instanceId, version } = hello;
  const { connectedSince, roundTripMs } = session;
  return { agentId, lane, instanceId, version, remoteAddress, connectedSince, roundTripMs, streams: streams.size };
}
