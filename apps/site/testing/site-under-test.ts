import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { z } from 'zod';
import { defineOrder, defineResult, type Order, type OutboxPage, uuid } from '#contracts/sites';
import type { ArchiveSettings } from '#libs/archive/site';
import { type CertificateText, createAuthority, createKeyPair, issueCertificate, signDocument } from '#libs/link';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { CarriesOut, type OrderHandler, type ReceivedOrder, type SiteDriver, SiteOutbox } from '#libs/sites/site';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { OrderEndpoint } from '../order-endpoint.js';
import type { SiteEnvironment } from '../site-environment.js';
import { type SiteDomains, SiteProcessModule } from '../site-process.module.js';

/** It may wait for somebody, and ends after so long. */
export const askOrder = defineOrder('ask.agent', z.strictObject({ preflightId: uuid }), { endsAfterSeconds: 300 });
export const steerOrder = defineOrder('steer.now', z.strictObject({ workloadId: uuid }), { urgent: true });
/** Orders of a domain of the test's own: they note in the database what was done. */
export const noteOrder = defineOrder('test.note', z.strictObject({ workloadId: uuid, text: z.string() }));
export const refuseOrder = defineOrder('test.refuse', z.strictObject({ workloadId: uuid }));
export const stumbleOrder = defineOrder('other.stumble', z.strictObject({ workloadId: uuid }));
export const stuckOrder = defineOrder('test.stuck', z.strictObject({ workloadId: uuid }));
export const noted = defineResult('test.noted', z.strictObject({ text: z.string() }));

class NeverError extends DomainError {
  constructor() {
    super('conflict', 'test.never', 'This never works. Do something else.');
  }
}

@CarriesOut(noteOrder)
class NoteHandler implements OrderHandler<z.infer<typeof noteOrder.payload>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly outbox: SiteOutbox,
  ) {}

  async received(tx: SiteTransaction, order: ReceivedOrder<z.infer<typeof noteOrder.payload>>): Promise<void> {
    await tx.execute(`INSERT INTO test.note (order_id, text) VALUES ($1, 'received')`, [order.id]);
  }

  async carryOut(order: ReceivedOrder<z.infer<typeof noteOrder.payload>>): Promise<void> {
    await this.work.run(async (tx) => {
      await tx.execute(`INSERT INTO test.note (order_id, text) VALUES ($1, $2)`, [order.id, order.payload.text]);
      const head = { tenantId: order.tenantId, orderId: order.id };
      await this.outbox.emit(tx, noted, head, { text: order.payload.text });
    });
  }
}

@CarriesOut(refuseOrder)
class RefuseHandler implements OrderHandler<z.infer<typeof refuseOrder.payload>> {
  async carryOut(): Promise<void> {
    throw new NeverError();
  }
}

@CarriesOut(stumbleOrder)
class StumbleHandler implements OrderHandler<z.infer<typeof stumbleOrder.payload>> {
  private stumbled = false;

  constructor(private readonly work: SiteUnitOfWork) {}

  async carryOut(order: ReceivedOrder<z.infer<typeof stumbleOrder.payload>>): Promise<void> {
    if (!this.stumbled) {
      this.stumbled = true;
      throw new Error('the line was cut');
    }
    await this.work.run((tx) => tx.execute(`INSERT INTO test.note VALUES ($1, 'stumbled')`, [order.id]));
  }
}

/** Set by a test: what a stuck order waits for. */
export const stuck = { until: Promise.resolve() };

@CarriesOut(stuckOrder)
class StuckHandler implements OrderHandler<z.infer<typeof stuckOrder.payload>> {
  carryOut(): Promise<void> {
    return stuck.until;
  }
}

/** What the agents of {@link askOrder} wait for; how many are asked at once, and were at most. */
export const agents = { answer: Promise.resolve(), asked: 0, most: 0, total: 0 };

@CarriesOut(askOrder)
class AskHandler implements OrderHandler<z.infer<typeof askOrder.payload>> {
  async carryOut(): Promise<void> {
    agents.asked += 1;
    agents.total += 1;
    agents.most = Math.max(agents.most, agents.asked);
    try {
      await agents.answer;
    } finally {
      agents.asked -= 1;
    }
  }
}

@CarriesOut(steerOrder)
class SteerHandler implements OrderHandler<z.infer<typeof steerOrder.payload>> {
  constructor(private readonly work: SiteUnitOfWork) {}

  async carryOut(order: ReceivedOrder<z.infer<typeof steerOrder.payload>>): Promise<void> {
    await this.work.run((tx) => tx.execute(`INSERT INTO test.note VALUES ($1, 'steered')`, [order.id]));
  }
}

@Module({ providers: [AskHandler, SteerHandler, StuckHandler, NoteHandler, RefuseHandler, StumbleHandler] })
class TestDomainModule {}

const TEST_DOMAINS: SiteDomains = {
  modules: [TestDomainModule],
  orders: [askOrder, steerOrder, noteOrder, refuseOrder, stumbleOrder, stuckOrder] as never[],
  jobs: [],
};

export const capacity = { cpus: 2, memoryBytes: 4e9, diskBytes: 1e11, diskFreeBytes: 5e10 };
const driver = { name: 'process', capacity: () => Promise.resolve(capacity) } as Partial<SiteDriver> as SiteDriver;

/** A site process with a database, a certificate authority and a control plane's keys of the test's own. */
export class SiteUnderTest {
  readonly siteId = randomUUID();
  readonly tenantId = randomUUID();
  private readonly signing = createKeyPair();
  private numbers = 0;
  private app: INestApplicationContext | undefined;

  private constructor(
    private readonly database: SiteDatabase,
    private readonly folder: string,
    readonly authority: CertificateText,
    private readonly client: CertificateText,
    private readonly server: CertificateText,
  ) {}

  static async start(): Promise<SiteUnderTest> {
    const authority = await createAuthority('test authority');
    const server = await issueCertificate(authority, {
      commonName: 'site',
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
    });
    const client = await issueCertificate(authority, { commonName: 'control', usages: ['client'] });
    const folder = await mkdtemp(path.join(tmpdir(), 'mainstay-site-'));
    const site = new SiteUnderTest(await createSiteDatabase(), folder, authority, client, server);
    await site.start();
    await site.work.run((tx) => tx.execute(`CREATE SCHEMA test CREATE TABLE note (order_id uuid, text text)`));
    return site;
  }

  get work(): SiteUnitOfWork {
    return this.get(SiteUnitOfWork);
  }

  get<T>(token: abstract new (...dependencies: never[]) => T): T {
    if (!this.app) throw new Error('the site under test is stopped');
    return this.app.get<T>(token, { strict: false });
  }

  /** With the test's own domain, unless told. */
  async start(domains: SiteDomains = TEST_DOMAINS): Promise<void> {
    const module = SiteProcessModule.forProcess(this.environment, driver, domains);
    this.app = await NestFactory.createApplicationContext(module, { bufferLogs: true });
    this.app.useLogger(new NestLogger(this.app.get(AppLogger).log));
  }

  async stop(): Promise<void> {
    await this.app?.close();
    this.app = undefined;
  }

  async close(): Promise<void> {
    await this.stop();
    await this.database.drop();
    await rm(this.folder, { recursive: true, force: true });
  }

  nextNumber(): number {
    return (this.numbers += 1);
  }

  /** A signed order of the next number; `changes` are signed with it. */
  order(kind: string, payload: Record<string, unknown>, changes: Partial<Order> = {}): Order {
    const { siteId, tenantId } = this;
    const issuedAt = new Date().toISOString();
    const content = {
      id: randomUUID(),
      siteId,
      number: this.nextNumber(),
      kind,
      tenantId,
      issuedAt,
      payload,
      ...changes,
    };
    return { ...content, signature: signDocument(content, this.signing.privateKey) };
  }

  /** What the handlers of this file did for an order. */
  async notes(orderId: string): Promise<string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ text: string }>(`SELECT text FROM test.note WHERE order_id = $1`, [orderId]),
    );
    return rows.map(({ text }) => text);
  }

  /** One request over mutual TLS, with the control plane's certificate unless told. */
  ask(
    method: string,
    pathname: string,
    body?: unknown,
    identity: CertificateText | null = this.client,
  ): Promise<{ status: number; body: unknown }> {
    const options = {
      host: '127.0.0.1',
      port: this.get(OrderEndpoint).port,
      method,
      path: pathname,
      ca: this.authority.certificate,
      agent: false,
      ...(identity ? { cert: identity.certificate, key: identity.privateKey } : {}),
    };
    return new Promise((resolve, reject) => {
      const outgoing = request(options, (answer) => {
        let text = '';
        answer.on('data', (part: Buffer) => (text += part.toString()));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: JSON.parse(text) }));
        answer.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async outbox(after: number, wait = 0): Promise<OutboxPage> {
    const answer = await this.ask('GET', `/v1/outbox?after=${after}&wait=${wait}`);
    if (answer.status !== 200) throw new Error(`the outbox answered ${answer.status}`);
    return answer.body as OutboxPage;
  }

  /** The last result's number so far. */
  async outboxEnd(): Promise<number> {
    return (await this.outbox(0)).results.at(-1)?.seq ?? 0;
  }

  /** A vault in the test's folder, for domains that have one. */
  get archive(): ArchiveSettings {
    return {
      directory: path.join(this.folder, 'archive'),
      databaseUrl: this.database.url,
      vault: { host: '127.0.0.1', port: 0, url: null, tls: null, storage: null },
      kekFile: null,
      oldKekFiles: [],
      restic: null,
    };
  }

  private get environment(): SiteEnvironment {
    return {
      settings: {
        siteId: this.siteId,
        name: 'test',
        directory: this.folder,
        frontDoorHost: '127.0.0.1',
        linkSocket: path.join(this.folder, 'link.sock'),
        siteSocket: path.join(this.folder, 'site.sock'),
        ports: { first: 20_000, last: 29_999 },
        postgresBin: null,
      },
      databaseUrl: this.database.url,
      queueUrl: this.database.queueUrl,
      logLevel: 'silent',
      orderPublicKey: this.signing.publicKey,
      endpoint: {
        host: '127.0.0.1',
        port: 0,
        certificate: this.server.certificate,
        key: this.server.privateKey,
        authority: this.authority.certificate,
        controlName: 'control',
      },
    };
  }
}
