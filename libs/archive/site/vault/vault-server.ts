import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { errorText } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import type { Vault } from './vault.js';
import { VaultAnswerError } from './vault.errors.js';
import type { VaultTraffic } from './vault.metrics.js';

export interface VaultServerOptions {
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** PEM. Null: plain HTTP, for a vault behind a proxy of the provider's that speaks TLS. */
  readonly tls: { readonly certificate: string; readonly key: string } | null;
  /** A connection on which nothing moves for so long in the middle of a request is cut: slow is fine, still is not. */
  readonly idleMs?: number;
}

const IDLE_MS = 60_000;
/** restic keeps idle connections for 90 s: ours live longer, or a request could meet a closing one. */
const KEEP_ALIVE_MS = 120_000;
const HEADERS_MS = 20_000;
const HEADER_BYTES_MAX = 8 * 1024;
/** What a client still sends after a refusal is read and thrown away up to here, so that it reads the answer. */
const DRAIN_BYTES_MAX = 64 * 1024 * 1024;
const CLOSE_MS = 5_000;

/** The vault's own door: HTTP without a framework, since bodies are streams and connections live long. */
export class VaultServer {
  private readonly server: http.Server | https.Server;

  constructor(
    private readonly vault: Vault,
    private readonly options: VaultServerOptions,
    private readonly log: Logger,
    private readonly traffic: VaultTraffic,
  ) {
    const settings = {
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: HEADERS_MS,
      // A pack over a slow line takes as long as it takes; what stands still is cut by the idle limit.
      requestTimeout: 0,
      maxHeaderSize: HEADER_BYTES_MAX,
      highWaterMark: 256 * 1024,
      noDelay: true,
    };
    const listener = (request: IncomingMessage, response: ServerResponse): void => void this.serve(request, response);
    const { tls } = options;
    this.server = tls
      ? https.createServer({ ...settings, cert: tls.certificate, key: tls.key, minVersion: 'TLSv1.2' }, listener)
      : http.createServer(settings, listener);
    this.server.on('clientError', (_error, socket) => socket.destroy());
  }

  async listen(): Promise<AddressInfo> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host: this.options.host, port: this.options.port }, () => resolve());
    });
    return this.server.address() as AddressInfo;
  }

  /** Lets requests under way end for a few seconds, then cuts them: an upload that is cut is sent again. */
  async close(): Promise<void> {
    if (!this.server.listening) return;
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeIdleConnections();
    const timer = setTimeout(() => this.server.closeAllConnections(), CLOSE_MS);
    await closed;
    clearTimeout(timer);
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    // Nobody listens for `timeout`, so the server destroys the socket by itself.
    socket.setTimeout(this.options.idleMs ?? IDLE_MS);
    response.once('close', () => {
      this.traffic.ended(request, response);
      rest(socket);
    });
    try {
      await this.vault.answer(request, response, this.traffic.from);
    } catch (error) {
      this.refuse(error, request, response);
    }
  }

  private refuse(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    const known = error instanceof VaultAnswerError ? error : undefined;
    const gone = request.socket.destroyed;
    if (!known && !gone) this.log.error({ err: error, method: request.method }, 'a vault request failed');
    if (known && known.status >= 500)
      this.log.warn({ code: known.code, detail: known.detail }, 'a vault request failed');
    if (gone) return;
    if (response.headersSent) {
      // Half an answer must not pass for a whole one.
      request.socket.destroy();
      return;
    }
    const text = `${known?.message ?? 'Something went wrong on our side.'}\n`;
    response.writeHead(known?.status ?? 500, {
      'content-type': 'text/plain; charset=utf-8',
      'content-length': Buffer.byteLength(text),
      ...known?.headers,
    });
    response.end(request.method === 'HEAD' ? undefined : text);
    drain(request, this.log);
  }
}

/** Between two requests the idle limit is the server's own. */
function rest(socket: Socket): void {
  socket.setTimeout(KEEP_ALIVE_MS);
}

function drain(request: IncomingMessage, log: Logger): void {
  if (request.complete) return;
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DRAIN_BYTES_MAX) request.socket.destroy();
  });
  request.on('error', (error) => log.debug({ why: errorText(error) }, 'a refused upload broke off'));
}
