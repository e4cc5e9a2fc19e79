import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type INestApplicationContext, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { defineOrder, defineResult, type Order, type OutboxPage, uuid } from '#contracts/sites';
import { type CertificateText, createAuthority, createKeyPair, issueCertificate, signDocument } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { NestLogger, AppLogger } from '#libs/platform/nest';
import { CarriesOut, type OrderHandler, type ReceivedOrder, type SiteDriver, SiteOutbox } from '#libs/sites/site';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';
import { OrderEndpoint } from './order-endpoint.js';
import { loadSiteEnvironment, type SiteEnvironment } from './site-environment.js';
import { SiteProcessModule } from './site-process.module.js';

/** Orders of a domain of the test's own: they note in the database what was done. */
const noteOrder = defineOrder('test.note', z.strictObject({ workloadId: uuid, text: z.string() }));
const refuseOrder = defineOrder('test.refuse', z.strictObject({ workloadId: uuid }));
const stumbleOrder = defineOrder('other.stumble', z.strictObject({ workloadId: uuid }));
const noted = defineResult('test.noted', z.strictObject({ text: z.string() }));

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

@Module({ providers: [NoteHandler, RefuseHandler, StumbleHandler] })
class TestDomainModule {}

const capacity = { cpus: 2, memoryBytes: 4e9, diskBytes: 1e11, diskFreeBytes: 5e10 };
const driver = { name: 'process', capacity: async () => capacity } as Partial<SiteDriver> as SiteDriver;
const siteId = randomUUID();
const tenantId = randomUUID();

describe('the order endpoint of a site', () => {
  let database: SiteDatabase;
  let folder: string;
  let app: INestApplicationContext;
  let authority: CertificateText;
  let client: CertificateText;
  let environment: SiteEnvironment;
  const signing = createKeyPair();
  let number = 0;

  const work = (): SiteUnitOfWork => app.get(SiteUnitOfWork, { strict: false });
  const notes = (orderId: string): Promise<string[]> =>
    work().run(async (tx) =>
      (await tx.query<{ text: string }>(`SELECT text FROM test.note WHERE order_id = $1`, [orderId])).map(
        (n) => n.text,
      ),
    );

  async function start(): Promise<void> {
    const domains = {
      modules: [TestDomainModule],
      orders: [noteOrder, refuseOrder, stumbleOrder] as never[],
      jobs: [],
    };
    app = await NestFactory.createApplicationContext(SiteProcessModule.forProcess(environment, driver, domains), {
      bufferLogs: true,
    });
    app.useLogger(new NestLogger(app.get(AppLogger).log));
  }

  beforeAll(async () => {
    database = await createSiteDatabase();
    folder = await mkdtemp(path.join(tmpdir(), 'mainstay-site-'));
    authority = await createAuthority('test authority');
    const server = await issueCertificate(authority, {
      commonName: 'site',
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
    });
    client = await issueCertificate(authority, { commonName: 'control', usages: ['client'] });
    environment = {
      settings: {
        siteId,
        name: 'test',
        directory: folder,
        frontDoorHost: '127.0.0.1',
        linkSocket: path.join(folder, 'link.sock'),
        siteSocket: path.join(folder, 'site.sock'),
        ports: { first: 20_000, last: 29_999 },
        postgresBin: null,
      },
      databaseUrl: database.url,
      queueUrl: database.queueUrl,
      logLevel: 'silent',
      orderPublicKey: signing.publicKey,
      endpoint: {
        host: '127.0.0.1',
        port: 0,
        certificate: server.certificate,
        key: server.privateKey,
        authority: authority.certificate,
      },
    };
    await start();
    await work().run((tx) => tx.execute(`CREATE SCHEMA test CREATE TABLE note (order_id uuid, text text)`));
  });

  afterAll(async () => {
    await app?.close();
    await database?.drop();
    await rm(folder, { recursive: true, force: true });
  });

  function ask(
    method: string,
    pathname: string,
    body?: unknown,
    identity: CertificateText | null = client,
  ): Promise<{ status: number; body: unknown }> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          host: '127.0.0.1',
          port: app.get(OrderEndpoint, { strict: false }).port,
          method,
          path: pathname,
          ca: authority.certificate,
          agent: false,
          ...(identity ? { cert: identity.certificate, key: identity.privateKey } : {}),
        },
        (answer) => {
          let text = '';
          answer.on('data', (part: Buffer) => (text += part.toString()));
          answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: JSON.parse(text) }));
          answer.on('error', reject);
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  function order(kind: string, payload: Record<string, unknown>, changes: Partial<Order> = {}): Order {
    number += 1;
    const unsigned = { id: randomUUID(), siteId, number, kind, tenantId, issuedAt: new Date().toISOString(), payload };
    const content = { ...unsigned, ...changes };
    return { ...content, signature: changes.signature ?? signDocument(content, signing.privateKey) };
  }

  const outbox = async (after: number, wait = 0): Promise<OutboxPage> => {
    const answer = await ask('GET', `/v1/outbox?after=${after}&wait=${wait}`);
    expect(answer.status).toBe(200);
    return answer.body as OutboxPage;
  };

  /** Where the outbox ends now. */
  const end = async (): Promise<number> => (await outbox(0)).results.at(-1)?.seq ?? 0;

  it('202: carries out an order once, however often and at once it is delivered', async () => {
    const after = await end();
    const one = order('test.note', { workloadId: randomUUID(), text: 'once' });
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask('POST', '/v1/orders', one)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(202));
    const page = await waitFor('the result', async () => (await outbox(after, 5)).results[0], { timeoutMs: 20_000 });
    expect(page).toMatchObject({ kind: 'test.noted', orderId: one.id, tenantId, payload: { text: 'once' } });
    expect((await ask('POST', '/v1/orders', one)).status).toBe(202);
    expect(await notes(one.id)).toEqual(['received', 'once']);
  });

  it('403: refuses an order that is altered, unsigned by its control plane, or for another site', async () => {
    const payload = { workloadId: randomUUID(), text: 'true' };
    const stranger = createKeyPair();
    const altered = { ...order('test.note', payload), payload: { ...payload, text: 'false' } };
    const foreign = order('test.note', payload);
    const resigned = {
      ...foreign,
      signature: signDocument({ ...foreign, signature: undefined }, stranger.privateKey),
    };
    const elsewhere = order('test.note', payload, { siteId: randomUUID() });
    const garbled = { ...order('test.note', payload), signature: 'AAAA' };
    for (const bad of [altered, resigned, garbled]) {
      const answer = await ask('POST', '/v1/orders', bad);
      expect(answer).toMatchObject({ status: 403, body: { code: 'order.signature-invalid' } });
      expect(await notes(bad.id)).toEqual([]);
    }
    expect(await ask('POST', '/v1/orders', elsewhere)).toMatchObject({
      status: 403,
      body: { code: 'order.other-site' },
    });
    const stored = await work().run((tx) =>
      tx.query(`SELECT FROM site_order WHERE id = ANY($1)`, [[altered.id, foreign.id, elsewhere.id, garbled.id]]),
    );
    expect(stored).toHaveLength(0);
  });

  it('409: refuses another order with a known id or number', async () => {
    const payload = { workloadId: randomUUID(), text: 'first' };
    const first = order('test.note', payload);
    expect((await ask('POST', '/v1/orders', first)).status).toBe(202);
    const sameId = order('test.note', { ...payload, text: 'second' }, { id: first.id });
    const sameNumber = order('test.note', payload, { number: first.number });
    for (const bad of [sameId, sameNumber]) {
      expect(await ask('POST', '/v1/orders', bad)).toMatchObject({ status: 409, body: { code: 'order.conflict' } });
    }
  });

  it('422: refuses a kind that nobody carries out, and a payload that does not fit', async () => {
    expect(await ask('POST', '/v1/orders', order('test.unknown', {}))).toMatchObject({
      status: 422,
      body: { code: 'order.kind-unknown' },
    });
    expect(await ask('POST', '/v1/orders', order('test.note', { text: 1 }))).toMatchObject({
      status: 422,
      body: { code: 'order.payload-malformed' },
    });
  });

  it('lets nobody in without a client certificate of its authority', async () => {
    const other = await createAuthority('another authority');
    const impostor = await issueCertificate(other, { commonName: 'control', usages: ['client'] });
    const server = await issueCertificate(authority, { commonName: 'another site', usages: ['server'] });
    for (const identity of [null, impostor, server]) {
      await expect(ask('GET', '/health', undefined, identity)).rejects.toThrow();
    }
    expect(await ask('GET', '/health')).toMatchObject({ status: 200, body: { ok: true } });
  });

  it('tells of an order that can never be carried out, and goes on with the next of the workload', async () => {
    const after = await end();
    const workloadId = randomUUID();
    const never = order('test.refuse', { workloadId });
    const next = order('test.note', { workloadId, text: 'next' });
    await ask('POST', '/v1/orders', never);
    await ask('POST', '/v1/orders', next);
    const results = await waitFor(
      'both results',
      async () => {
        const page = await outbox(after);
        return page.results.length >= 2 ? page.results : undefined;
      },
      { timeoutMs: 20_000 },
    );
    expect(results.map(({ kind, orderId }) => [kind, orderId])).toEqual([
      ['order.failed', never.id],
      ['test.noted', next.id],
    ]);
    expect(results[0]?.payload).toMatchObject({ kind: 'test.refuse', code: 'test.never' });
  });

  it('tries again what failed in passing', async () => {
    const stumble = order('other.stumble', { workloadId: randomUUID() });
    await ask('POST', '/v1/orders', stumble);
    await waitFor('the second try', async () => (await notes(stumble.id)).includes('stumbled'), { timeoutMs: 20_000 });
  });

  it('numbers results as they become visible, so that a cursor passes none', async () => {
    const after = await end();
    const emit = (text: string, tx: SiteTransaction): Promise<void> =>
      app.get(SiteOutbox, { strict: false }).emit(tx, noted, { tenantId }, { text });
    const slowMayEnd = Promise.withResolvers<void>();
    const slowHasWritten = Promise.withResolvers<void>();
    const slow = work().run(async (tx) => {
      await emit('slow', tx);
      slowHasWritten.resolve();
      await slowMayEnd.promise;
    });
    await slowHasWritten.promise;
    const waiting = outbox(after, 30);
    await work().run((tx) => emit('fast', tx));
    const first = await waiting;
    expect(first.results.map(({ payload }) => payload)).toEqual([{ text: 'fast' }]);
    slowMayEnd.resolve();
    await slow;
    const second = await outbox(first.results[0]!.seq, 30);
    expect(second.results.map(({ payload }) => payload)).toEqual([{ text: 'slow' }]);
    // Until it is acknowledged, the same look gives the same results.
    expect((await outbox(after)).results.map(({ payload }) => payload)).toEqual([{ text: 'fast' }, { text: 'slow' }]);
    expect(first.snapshot).toMatchObject({ siteId, capacity, agents: [], workloads: [] });
  });

  it('goes on above a cursor that knew a database which was lost', async () => {
    const lost = (await end()) + 1_000;
    expect((await outbox(lost)).results).toEqual([]);
    await work().run((tx) => app.get(SiteOutbox, { strict: false }).emit(tx, noted, { tenantId }, { text: 'after' }));
    expect((await outbox(lost)).results.map(({ seq }) => seq)).toEqual([lost + 1]);
  });

  it('carries out after a restart what was stored before it', async () => {
    await app.close();
    const orderId = randomUUID();
    const workloadId = randomUUID();
    await start();
    await work().run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, work_key, claimed_by, claimed_until)
         VALUES ($1, $2, 'test.note', $3, $4, now(), 'test/x', $5, now() - interval '1 second')`,
        [orderId, (number += 1), tenantId, JSON.stringify({ workloadId, text: 'found' }), randomUUID()],
      ),
    );
    await waitFor('the sweep', async () => (await notes(orderId)).includes('found'), { timeoutMs: 30_000 });
  });

  it('names each setting that is missing', () => {
    expect(() => loadSiteEnvironment({ SITE_ID: 'x' })).toThrow(/SITE_ID.*[\s\S]*SITE_TLS_CERT_FILE/);
  });
});
