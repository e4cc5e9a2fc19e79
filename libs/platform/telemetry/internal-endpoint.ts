import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errorText } from '#libs/platform/errors';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import type { ProcessHealth } from './process-health.js';

const RETRY_MS = 1_000;

export interface InternalAddress {
  readonly host: string;
  readonly port: number;
}

/**
 * `GET /metrics`, `/health/live` and `/health/ready` for who runs this process, apart from whatever it serves to others.
 * It knows no callers: it belongs on loopback or on a network of the provider's own.
 *
 * A port that is taken does not stop the process, whose work matters more than its figures: it is tried again, and a
 * scrape that fails meanwhile is an alert of Prometheus's own.
 */
export class InternalEndpoint {
  private readonly server: Server;
  private retry: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(
    private readonly address: InternalAddress,
    private readonly metrics: Metrics,
    private readonly health: ProcessHealth,
    private readonly log: Logger,
  ) {
    this.server = createServer((request, response) => {
      this.answer(request, response).catch((error: unknown) => {
        this.log.warn({ err: error, path: request.url }, 'an internal request failed');
        if (!response.headersSent) response.writeHead(500);
        response.end();
      });
    });
    this.server.requestTimeout = 10_000;
    this.server.keepAliveTimeout = 60_000;
    this.server.unref();
  }

  /** The port that it listens on; undefined while it does not. */
  get port(): number | undefined {
    return (this.server.address() as AddressInfo | null)?.port;
  }

  async open(): Promise<void> {
    await this.metrics.open();
    await this.listen();
  }

  private listen(): Promise<void> {
    return new Promise((resolve) => {
      const failed = (error: Error): void => {
        this.log.error({ ...this.address, reason: errorText(error) }, 'metrics cannot be served; trying again');
        if (!this.closed) this.retry = setTimeout(() => void this.listen(), RETRY_MS).unref();
        resolve();
      };
      this.server.once('error', failed);
      this.server.listen(this.address, () => {
        this.server.off('error', failed);
        this.log.info({ host: this.address.host, port: this.port }, 'serving metrics');
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    if (!this.server.listening) return;
    const done = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await done;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://internal').pathname;
    if (request.method !== 'GET') return send(response, 405, 'text/plain', 'GET only\n');
    switch (path) {
      case '/metrics': {
        const { text, contentType } = await this.metrics.scrape();
        return send(response, 200, contentType, text);
      }
      case '/health/live':
        return sendJson(response, 200, { status: 'live' });
      case '/health/ready': {
        const obstacles = await this.health.obstacles();
        if (Object.keys(obstacles).length === 0) return sendJson(response, 200, { status: 'ready' });
        return sendJson(response, 503, { status: 'not-ready', obstacles });
      }
      default:
        return send(response, 404, 'text/plain', 'GET /metrics, /health/live or /health/ready\n');
    }
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

const sendJson = (response: ServerResponse, status: number, body: unknown): void =>
  send(response, status, 'application/json', JSON.stringify(body));
