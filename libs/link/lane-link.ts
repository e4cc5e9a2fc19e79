import type { ServerHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import { pause } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import { answerRequests } from './answering.js';
import { STREAM_PATH, streamRequest, type Lane } from './contract.js';
import { WorkloadUnreachableError } from './errors.js';
import type { LinkRequest, LinkResponse } from './exchange.js';
import { dial, helloBasis, type LinkTarget } from './handshake.js';
import type { LinkIdentity } from './keys.js';
import { CLOSE_TEXT, redialDelay, type LinkStatus } from './redial.js';
import { LinkSession, serverSession } from './session.js';
import { abort, splice } from './splice.js';
import type { LinkLog, LinkTimings } from './timings.js';

/** Where an agent dials to. */
export interface DialledSite extends LinkTarget {
  readonly siteId: string;
}

export interface AgentHandlers {
  /**
   * A connection to a workload of the agent's own configuration.
   *
   * @throws WorkloadRefusedError when it is not listed there; any other error counts as unreachable.
   */
  connectWorkload(name: string, from: { readonly siteId: string; readonly lane: Lane }): Promise<Duplex>;
  /** A command of the site's. A DomainError reaches the site with its code and text. */
  request(request: LinkRequest, from: { readonly siteId: string; readonly lane: Lane }): Promise<LinkResponse>;
}

export interface LaneOptions {
  readonly agentId: string;
  readonly identity: LinkIdentity;
  readonly version: string;
  readonly instanceId: string;
  readonly handlers: AgentHandlers;
  readonly timings: LinkTimings;
  readonly log: LinkLog;
  readonly changed: (status: LinkStatus) => void;
}

/** One lane to one site, kept up for as long as it is not closed. */
export class LaneLink {
  private readonly closing = new AbortController();
  private readonly running: Promise<void>;
  private session: LinkSession<ServerHttp2Session> | undefined;
  private state: LinkStatus['state'] = 'connecting';
  private lastError: string | null = null;
  private attempts = 0;

  constructor(
    readonly site: DialledSite,
    readonly lane: Lane,
    private readonly options: LaneOptions,
  ) {
    this.running = this.keepUp();
  }

  status(): LinkStatus {
    const up = this.session?.alive === true ? this.session : undefined;
    return {
      siteId: this.site.siteId,
      lane: this.lane,
      state: this.state,
      connectedSince: up?.connectedSince ?? null,
      roundTripMs: up?.roundTripMs ?? null,
      lastError: this.lastError,
      attempts: this.attempts,
    };
  }

  async close(): Promise<void> {
    this.closing.abort();
    this.session?.close('shutdown');
    await this.running;
  }

  private async keepUp(): Promise<void> {
    while (!this.closing.signal.aborted) {
      let failure: unknown;
      this.attempts += 1;
      try {
        this.move('connecting');
        await this.linkUp();
      } catch (error) {
        failure = error;
        const shown = error instanceof DomainError ? error.message : errorText(error);
        if (shown !== this.lastError) this.options.log('warn', 'a link could not be set up', this.facts(shown));
        this.lastError = shown;
      }
      if (this.closing.signal.aborted) break;
      this.move('waiting');
      await pause(redialDelay(this.options.timings, this.attempts, failure), this.closing.signal);
    }
    this.move('closed');
  }

  /** Dials, serves, and returns when the link has ended. */
  private async linkUp(): Promise<void> {
    const { agentId, identity, version, instanceId, timings, log } = this.options;
    const hello = { kind: 'agent', agentId, lane: this.lane, ...helloBasis(version, instanceId) } as const;
    const socket = await dial(this.site, hello, identity, timings.handshake, this.closing.signal);
    const session = new LinkSession(serverSession(socket), socket, timings);
    answerRequests(session.http, (request) => this.answer(session, request), log);
    this.session = session;
    this.lastError = null;
    if (this.closing.signal.aborted) session.close('shutdown');
    else this.move('connected');
    // A link that lasted proves the line: the next failure starts from the shortest delay again.
    const lasted = setTimeout(() => (this.attempts = 0), timings.redialLongest).unref();
    const reason = await session.ended;
    clearTimeout(lasted);
    this.lastError = CLOSE_TEXT[reason];
    log('info', 'a link ended', this.facts(reason));
  }

  private answer(session: LinkSession, request: LinkRequest): Promise<LinkResponse> {
    const from = { siteId: this.site.siteId, lane: this.lane };
    return request.path === STREAM_PATH
      ? this.bringStream(session, request)
      : this.options.handlers.request(request, from);
  }

  /** The gateway wants a connection to a workload: reach that first, then dial the gateway and join the two. */
  private async bringStream(session: LinkSession, request: LinkRequest): Promise<LinkResponse> {
    const { ticket, workload } = streamRequest.parse(await request.json());
    const { agentId, identity, version, instanceId, timings, handlers } = this.options;
    let upstream: Duplex;
    try {
      upstream = await handlers.connectWorkload(workload, { siteId: this.site.siteId, lane: this.lane });
    } catch (error) {
      throw error instanceof DomainError ? error : new WorkloadUnreachableError(workload, error);
    }
    upstream.on('error', () => undefined);
    try {
      const hello = { kind: 'agent-stream', agentId, ticket, ...helloBasis(version, instanceId) } as const;
      const stream = await dial(this.site, hello, identity, timings.handshake, this.closing.signal);
      const forget = session.whenEnded(() => {
        abort(stream);
        abort(upstream);
      });
      splice(upstream, stream, forget);
    } catch (error) {
      abort(upstream);
      throw error;
    }
    return { json: {} };
  }

  private move(state: LinkStatus['state']): void {
    this.state = state;
    this.options.changed(this.status());
  }

  private facts(why: string) {
    return { siteId: this.site.siteId, lane: this.lane, attempts: this.attempts, why };
  }
}
