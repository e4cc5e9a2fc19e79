import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown, Optional } from '@nestjs/common';
import { z } from 'zod';
import type { OutboxPage } from '#contracts/sites';
import { DomainError, errorText, NotFoundError } from '#libs/platform/errors';
import { isUuid } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { continueTrace } from '#libs/platform/telemetry';
import {
  answerFault,
  OrderIntake,
  OutboxReader,
  OUTLOOK_SOURCE,
  type OutlookSource,
  readJson,
  SiteAnswers,
  SiteSnapshots,
} from '#libs/sites/site';
import type { SiteEnvironment } from './site-environment.js';

export const ENDPOINT_SETTINGS = Symbol('order endpoint settings');

const outboxQuery = z.object({
  after: z.coerce.number().int().nonnegative(),
  /** Seconds. */
  wait: z.coerce.number().int().min(0).max(60).default(0),
});

/** The longest order: a protect order with its facts is a few kilobytes. */
const ORDER_BYTES_MAX = 1024 * 1024;
/** Longer than the control plane's pause between two looks, so that an order finds an open connection. */
const KEEP_ALIVE_MS = 60_000;

class RequestMalformedError extends DomainError {
  constructor(detail: string) {
    super('invalid', 'request.malformed', 'This request is not understood.', { detail });
  }
}

/** The site's door for its control plane: mutual TLS, four requests and health. */
@Injectable()
export class OrderEndpoint implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly server: https.Server;
  private readonly stopping = new AbortController();

  constructor(
    @Inject(ENDPOINT_SETTINGS) private readonly settings: SiteEnvironment['endpoint'],
    private readonly orders: OrderIntake,
    private readonly outbox: OutboxReader,
    private readonly snapshots: SiteSnapshots,
    private readonly answers: SiteAnswers,
    @Optional() @Inject(OUTLOOK_SOURCE) private readonly outlooks: OutlookSource | undefined,
    private readonly logger: AppLogger,
  ) {
    this.server = https.createServer(
      {
        cert: settings.certificate,
        key: settings.key,
        // Only the provider's own authority counts, and only a client certificate of its: whoever has none is cut
        // off in the handshake, and right after it whoever has another than the control plane's.
        ca: settings.authority,
        requestCert: true,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.3',
        keepAliveTimeout: KEEP_ALIVE_MS,
      },
      (request, response) => {
        this.answer(request, response).catch((error: unknown) => this.failed(request, response, error));
      },
    );
    this.server.on('secureConnection', (socket) => {
      const { CN: name } = socket.getPeerCertificate().subject;
      if (name === settings.controlName) return;
      logger.log.warn({ name, remoteAddress: socket.remoteAddress }, 'a certificate that is not the control plane’s');
      socket.destroy();
    });
    this.server.requestTimeout = 30_000;
  }

  async onApplicationBootstrap(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen({ host: this.settings.host, port: this.settings.port }, () => resolve());
    });
    this.logger.log.info({ port: this.port }, 'taking orders');
  }

  /** The port that it listens on. */
  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    this.server.closeIdleConnections();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    const timer = setTimeout(() => this.server.closeAllConnections(), 2_000);
    await closed;
    clearTimeout(timer);
  }

  private failed(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (!(error instanceof DomainError)) this.logger.log.error({ err: error, path: request.url }, 'request failed');
    answerFault(response, error);
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://site.invalid');
    const [, version, what, id, detail] = url.pathname.split('/');
    if (request.method === 'GET' && url.pathname === '/health') return send(response, 200, { ok: true });
    if (version !== 'v1') throw new NotFoundError('path');
    if (request.method === 'POST' && what === 'orders') return this.takeOrder(request, response);
    if (request.method === 'POST' && what === 'questions') return this.answerQuestion(request, response);
    if (request.method === 'GET' && what === 'outbox') return this.lookIntoOutbox(url, response);
    if (request.method === 'GET' && what === 'workloads' && detail === 'outlook') {
      if (id === undefined || !isUuid(id) || !this.outlooks) throw new NotFoundError('workload');
      const known = { noDegradeGranted: url.searchParams.get('noDegradeGranted') === 'true' };
      return send(response, 200, await this.outlooks.outlook(id, known));
    }
    throw new NotFoundError('path');
  }

  private async takeOrder(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await read(request);
    const { traceparent } = request.headers;
    await continueTrace(typeof traceparent === 'string' ? traceparent : null, 'receive order', { kind: 'server' }, () =>
      this.orders.receive(body),
    );
    send(response, 202, { accepted: true });
  }

  private async answerQuestion(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('nobody waits any more')));
    const signal = AbortSignal.any([gone.signal, this.stopping.signal]);
    const answer = await this.answers.answer(await read(request), signal);
    if ('json' in answer) return send(response, 200, answer.json);
    const { stream, length } = answer.bytes;
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      ...(length === null ? {} : { 'content-length': length }),
    });
    // A stream that fails destroys the connection: half an answer never passes for a whole one.
    await pipeline(stream, response).catch((error: unknown) => {
      if (!response.writableEnded) this.logger.log.warn({ reason: errorText(error) }, 'bytes broke off');
    });
  }

  private async lookIntoOutbox(url: URL, response: ServerResponse): Promise<void> {
    const query = outboxQuery.safeParse(Object.fromEntries(url.searchParams));
    if (!query.success) throw new RequestMalformedError(query.error.message);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const results = await this.outbox.look({
      after: query.data.after,
      waitMs: query.data.wait * 1_000,
      signal: AbortSignal.any([gone.signal, this.stopping.signal]),
    });
    if (response.destroyed) return;
    const page: OutboxPage = { results, snapshot: await this.snapshots.take() };
    send(response, 200, page);
  }
}

async function read(request: IncomingMessage): Promise<unknown> {
  if (Number(request.headers['content-length'] ?? 0) > ORDER_BYTES_MAX) {
    throw new RequestMalformedError('the request is too long');
  }
  return readJson(request, ORDER_BYTES_MAX).catch((error: unknown) => {
    throw new RequestMalformedError(error instanceof Error ? error.message : 'unreadable');
  });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
