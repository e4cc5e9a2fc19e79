import type http from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type PeerSite, peerSite } from '#contracts/sites';
import { DomainError, NotFoundError } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import { isUuid } from '#libs/platform/database';
import type { Lane } from '../agents/agent-commands.js';
import type { LinkStates } from '../agents/linked-agents.js';
import { PEER_HEADER } from '../peers/linked-peer-sites.js';
import { ANSWER_BYTES_HEADER, ANSWER_HEADER, readJson } from '../socket/socket-request.js';
import { answerFault, SocketServer } from '../socket/socket-server.js';

export interface FarAnswer {
  readonly contentType: string | undefined;
  readonly body: Readable;
}

export interface FarEndAsk {
  readonly signal: AbortSignal;
  /** The longest answer, in bytes; the link's own limit when absent. */
  readonly answerBytes?: number;
}

/** One far end's requests: to an agent on a lane, or to another site about a workload. */
export interface FarEnd {
  /**
   * Answers JSON as it came, unread: this process has commits to carry, and its event loop is everybody's.
   *
   * @throws what the far end answered, as a DomainError with its code; {@link UnreachedError} when it did not.
   */
  ask(path: string, json: unknown, options: FarEndAsk): Promise<Buffer>;
  /** The body errors unless it comes whole. */
  askStream(path: string, json: unknown, signal: AbortSignal): Promise<FarAnswer>;
}

/** Everything that the link process can reach. */
export interface FarEnds {
  agent(agentId: string, lane: Lane): FarEnd;
  peer(peer: PeerSite, workloadId: string): FarEnd;
  states(): LinkStates;
}

/** The far end could not be reached, or fell silent: not an answer of its. */
export class UnreachedError extends DomainError {
  constructor(why: string, cause?: unknown) {
    super('unavailable', 'link.unreached', why, { cause });
  }
}

const AGENT_PATH = /^\/agents\/([0-9a-f-]{36})\/(sync|bulk)(\/v1\/[a-z0-9/-]+)$/;
const PEER_PATH = /^\/peers\/([0-9a-f-]{36})(\/v1\/[a-z0-9/-]+)$/;

function longestOf(request: http.IncomingMessage): { readonly answerBytes?: number } {
  const said = Number(request.headers[ANSWER_BYTES_HEADER]);
  return Number.isSafeInteger(said) && said > 0 ? { answerBytes: said } : {};
}

/** The link process's socket: the site process's way to agents and other sites. */
export class LinkSocket {
  private readonly server: SocketServer;

  constructor(
    socketPath: string,
    private readonly ends: FarEnds,
    log: Logger,
  ) {
    this.server = new SocketServer(
      socketPath,
      (request, response) => this.answer(request, response),
      (error, request) => {
        if (error instanceof DomainError) log.debug({ err: error, path: request.url }, 'a command was not carried out');
        else log.warn({ err: error, path: request.url }, 'a command failed');
      },
    );
  }

  listen(): Promise<void> {
    return this.server.listen();
  }

  close(): Promise<void> {
    return this.server.close();
  }

  private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = request.url ?? '';
    if (request.method === 'GET' && url === '/links') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(this.ends.states()));
      return;
    }
    const { end, path } = this.route(request, url);
    const json = await readJson(request);
    const gone = new AbortController();
    response.once('close', () => gone.abort(new UnreachedError('the command was given up')));
    try {
      if (request.headers[ANSWER_HEADER] === 'bytes')
        await this.bytes(await end.askStream(path, json, gone.signal), response);
      else {
        const answer = await end.ask(path, json, { signal: gone.signal, ...longestOf(request) });
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(answer.length === 0 ? 'null' : answer);
      }
    } catch (error) {
      // Whoever asked has gone, as a reader does that has all it wants: there is nobody to tell.
      if (gone.signal.aborted) return;
      if (!(error instanceof UnreachedError)) throw error;
      answerFault(response, error, true);
    }
  }

  private async bytes(answer: FarAnswer, response: http.ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': answer.contentType ?? 'application/octet-stream' });
    await pipeline(answer.body, response);
  }

  private route(request: http.IncomingMessage, url: string): { end: FarEnd; path: string } {
    const agent = AGENT_PATH.exec(url);
    if (agent && request.method === 'POST') {
      const [, agentId = '', lane, path = ''] = agent;
      return { end: this.ends.agent(agentId, lane as Lane), path };
    }
    const peer = PEER_PATH.exec(url);
    if (peer && request.method === 'POST') {
      const [, workloadId = '', path = ''] = peer;
      const said = request.headers[PEER_HEADER];
      if (!isUuid(workloadId) || typeof said !== 'string') throw new NotFoundError('path');
      const address = peerSite.parse(JSON.parse(Buffer.from(said, 'base64url').toString('utf8')));
      return { end: this.ends.peer(address, workloadId), path };
    }
    throw new NotFoundError('path');
  }
}
