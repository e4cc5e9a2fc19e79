import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { DomainError } from '#libs/platform/errors';
import { answerRequests } from './answering.js';
import type { CloseReason, SiteHello, SiteStreamHello } from './contract.js';
import { HelloRefusedError, WorkloadRefusedError } from './errors.js';
import type { LinkRequest, LinkResponse } from './exchange.js';
import type { Candidate } from './gateway-admission.js';
import { helloIsGenuine } from './handshake.js';
import { LinkSession, serverSession } from './session.js';
import { abort, splice } from './splice.js';
import type { LinkLog, LinkTimings } from './timings.js';

export interface PeerHandlers {
  /**
   * A connection to this site's standby of a workload that it shares with that peer.
   *
   * @throws WorkloadRefusedError when it shares none; any other error counts as unreachable.
   */
  connectWorkload(workloadId: string, peerSiteId: string): Promise<Duplex>;
  /** A peer's command. A DomainError reaches the peer with its code and text. */
  request(request: LinkRequest, peerSiteId: string): Promise<LinkResponse>;
}

interface PeerLink {
  readonly hello: SiteHello;
  readonly publicKey: string;
  readonly session: LinkSession<ServerHttp2Session>;
}

/** The live links of other sites; one per process of theirs. */
export class PeerLinks {
  private readonly links = new Map<string, PeerLink>();

  constructor(
    private readonly handlers: PeerHandlers,
    private readonly timings: LinkTimings,
    private readonly log: LinkLog,
  ) {}

  /** Takes a genuine hello's connection in as the peer's link. */
  async admit(candidate: Candidate, hello: SiteHello, publicKey: string): Promise<void> {
    const key = keyOf(hello);
    this.links.get(key)?.session.close('replaced');
    await candidate.welcome();
    const session = new LinkSession(serverSession(candidate.socket), candidate.socket, this.timings);
    const link = { hello, publicKey, session };
    this.links.set(key, link);
    session.whenEnded(() => {
      if (this.links.get(key) === link) this.links.delete(key);
    });
    answerRequests(session.http, (request) => this.handlers.request(request, hello.siteId), this.log);
  }

  /** Joins a peer's connection to the standby it names. */
  async bring(candidate: Candidate, hello: SiteStreamHello): Promise<void> {
    const link = this.links.get(keyOf(hello));
    if (!link?.session.alive || !helloIsGenuine(candidate.socket, hello, link.publicKey)) {
      throw new HelloRefusedError('bad-signature', 'A connection needs a live link of the same site and process.');
    }
    const standby = await this.handlers.connectWorkload(hello.workloadId, hello.siteId).catch((error: unknown) => {
      const refused = error instanceof WorkloadRefusedError;
      const message = error instanceof DomainError ? error.message : 'The standby does not answer.';
      throw new HelloRefusedError(refused ? 'workload-refused' : 'workload-unreachable', message);
    });
    standby.on('error', () => undefined);
    try {
      await candidate.welcome();
    } catch (error) {
      abort(standby);
      throw error;
    }
    const forget = link.session.whenEnded(() => {
      abort(standby);
      abort(candidate.socket);
    });
    splice(candidate.socket, standby, forget);
  }

  close(reason: CloseReason, matches: (siteId: string) => boolean = () => true): number {
    const found = [...this.links.values()].filter(({ hello }) => matches(hello.siteId));
    for (const { session } of found) session.close(reason);
    return found.length;
  }
}

const keyOf = ({ siteId, instanceId }: SiteHello | SiteStreamHello): string => `${siteId}|${instanceId}`;
