import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { PromotionOutlook } from '#contracts/failover';
import type { StandbyHealth } from '#contracts/replication';
import {
  type Order,
  type OrderContract,
  order as orderSchema,
  type ResultContract,
  type SiteQuestion,
  siteQuestion,
  type SiteResult,
  type SiteSnapshot,
} from '#contracts/sites';
import {
  type CertificateText,
  certificateFingerprint,
  createKeyPair,
  issueCertificate,
  type KeyPairText,
  verifyDocument,
} from '#libs/link';
import { waitFor } from '#libs/platform/clock';

const NOT_FOUND = { status: 404, body: { code: 'question.not-found', message: 'There is nothing of this here.' } };
const isRefusal = (answer: unknown): answer is typeof NOT_FOUND =>
  typeof answer === 'object' && answer !== null && 'status' in answer && 'body' in answer;

/** The first bytes of a file, whose connection is then cut. */
export class CutShort {
  constructor(
    readonly bytes: Buffer,
    /** How long the whole would have been. */
    readonly of: number,
  ) {}
}

const WITHIN = { timeoutMs: 20_000, everyMs: 5 };

/**
 * A warm site's order endpoint whose results and measurements a test decides. What it takes is checked as a site does:
 * mutual TLS, the order's schema, the provider's signature. Orders are kept by id.
 */
export class ScriptedSite {
  readonly keys: KeyPairText = createKeyPair();
  /** Orders in the order of their first arrival. */
  readonly orders: Order[] = [];
  /** The traceparent header that each order came with first, by the order's id. */
  readonly traceparents = new Map<string, string>();
  /** How often an order arrived, counting repetitions. */
  arrivals = 0;
  workloads: StandbyHealth[] = [];
  agents: SiteSnapshot['agents'] = [];
  readonly outlooks = new Map<string, PromotionOutlook>();
  /**
   * Answers to questions by kind: a Buffer for bytes, a {@link CutShort} for bytes that break off, a `{status, body}` for a
   * refusal, anything else as JSON.
   */
  readonly answers = new Map<string, (payload: Record<string, unknown>, tenantId: string) => unknown>();
  /** Questions in the order of their arrival. */
  readonly questions: SiteQuestion[] = [];
  /** Kinds of orders that are refused with 422. */
  readonly refuses = new Set<string>();
  /** Kinds of orders whose signature this site does not accept. */
  readonly distrusts = new Set<string>();
  /** Kinds of orders that this site takes without ever saying so. */
  readonly silentAbout = new Set<string>();
  private readonly results: SiteResult[] = [];
  private readonly wakes = new Set<() => void>();
  private server: https.Server | undefined;
  port = 0;

  private constructor(
    readonly id: string,
    private readonly certificate: CertificateText,
    private readonly authority: CertificateText,
    private readonly signingKey: string,
  ) {}

  /** @param signingKey the public half of the key that signs orders, PEM. */
  static async start(authority: CertificateText, signingKey: string): Promise<ScriptedSite> {
    const certificate = await issueCertificate(authority, {
      commonName: 'site',
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
    });
    const site = new ScriptedSite(randomUUID(), certificate, authority, signingKey);
    await site.open();
    return site;
  }

  get fingerprint(): string {
    return certificateFingerprint(this.certificate.certificate);
  }

  /** Listens, on the port it had before if it had one. */
  async open(): Promise<void> {
    const server = https.createServer(
      {
        cert: this.certificate.certificate,
        key: this.certificate.privateKey,
        ca: this.authority.certificate,
        requestCert: true,
        rejectUnauthorized: true,
      },
      (request, response) => void this.answer(request, response),
    );
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
  }

  /** Goes away at once, as after kill -9. */
  async cut(): Promise<void> {
    const server = this.server;
    this.server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  /** Tells a result, durable until read. */
  say<P>(
    contract: ResultContract<P>,
    payload: P,
    head: { readonly tenantId: string | null; readonly orderId?: string | undefined },
  ): void {
    this.results.push({
      seq: this.results.length + 1,
      id: randomUUID(),
      kind: contract.kind,
      orderId: head.orderId ?? null,
      tenantId: head.tenantId,
      payload: contract.payload.parse(payload) as SiteResult['payload'],
      at: new Date().toISOString(),
    });
    this.show();
  }

  /** Ends the looks in progress, so that the newest measurements are seen at once. */
  show(): void {
    for (const wake of this.wakes) wake();
  }

  /** The newest order of this kind, once it is there and fits `fits`. */
  async ordered<P>(
    contract: OrderContract<P>,
    fits: (payload: P) => boolean = () => true,
  ): Promise<{ order: Order; payload: P }> {
    return waitFor(
      `an order ${contract.kind}`,
      () => {
        const found = this.orders.findLast(
          (one) => one.kind === contract.kind && fits(contract.payload.parse(one.payload)),
        );
        return found && { order: found, payload: contract.payload.parse(found.payload) };
      },
      WITHIN,
    );
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://site.invalid');
    const send = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    if (url.pathname === '/v1/orders') {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const order = orderSchema.parse(JSON.parse(Buffer.concat(parts).toString()));
      const { signature, ...signed } = order;
      const genuine = verifyDocument(signed, signature, this.signingKey) && !this.distrusts.has(order.kind);
      if (!genuine || order.siteId !== this.id) {
        return send(403, { code: 'order.signature-invalid', detail: 'wrong signature' });
      }
      if (this.refuses.has(order.kind)) return send(422, { code: 'order.refused', detail: 'This site does not.' });
      this.arrivals += 1;
      if (!this.orders.some(({ id }) => id === order.id)) {
        this.orders.push(order);
        const { traceparent } = request.headers;
        if (typeof traceparent === 'string') this.traceparents.set(order.id, traceparent);
      }
      return this.silentAbout.has(order.kind) ? undefined : send(202, { accepted: true });
    }
    if (url.pathname === '/v1/questions') return this.answerQuestion(request, response);
    if (url.pathname === '/v1/outbox') {
      const after = Number(url.searchParams.get('after'));
      await this.news(after, Number(url.searchParams.get('wait')) * 1_000);
      return send(200, { results: this.results.filter(({ seq }) => seq > after), snapshot: this.snapshot() });
    }
    const outlook = this.outlooks.get(/^\/v1\/workloads\/([^/]+)\/outlook$/.exec(url.pathname)?.[1] ?? '');
    return outlook ? send(200, outlook) : send(404, { code: 'not-found' });
  }

  private async answerQuestion(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const question = siteQuestion.parse(JSON.parse(Buffer.concat(parts).toString()));
    this.questions.push(question);
    const answer = (await this.answers.get(question.kind)?.(question.payload, question.tenantId)) ?? NOT_FOUND;
    if (answer instanceof CutShort) {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': answer.of });
      response.write(answer.bytes, () => response.destroy());
      return;
    }
    if (Buffer.isBuffer(answer)) {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': answer.length });
      response.end(answer);
      return;
    }
    const { status, body } = isRefusal(answer) ? answer : { status: 200, body: answer };
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  private news(after: number, waitMs: number): Promise<void> {
    if (this.results.some(({ seq }) => seq > after)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.wakes.delete(done);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.wakes.add(done);
    });
  }

  private snapshot(): SiteSnapshot {
    return {
      siteId: this.id,
      at: new Date().toISOString(),
      capacity: { cpus: 4, memoryBytes: 8e9, diskBytes: 1e12, diskFreeBytes: 5e11 },
      agents: this.agents,
      workloads: this.workloads.map((one) => ({ ...one, sourceSeenAt: one.sourceSeenAt && new Date().toISOString() })),
    };
  }
}
