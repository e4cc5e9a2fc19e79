import { Body, Controller, Get, Module, Post } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { DatabaseModule, UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { Answers, createHttpApp, IdempotencyKeyRequired, Public } from '../index.js';

const body = z.strictObject({ text: z.string() });
const made = z.object({ id: z.string(), secret: z.string() });

class NotNowError extends DomainError {
  constructor() {
    super('conflict', 'test.not-now', 'Not now.');
  }
}

/** What the next request does on its way: set by each test. */
const script = { hold: Promise.resolve(), begun: 0, failBefore: false, failAfterCommit: false };

@Public()
@Controller('v1/things')
class Things {
  constructor(private readonly work: UnitOfWork) {}

  @Post()
  @Answers({ status: 201, summary: 'Makes a thing', schema: made })
  async make(@Body({ schema: body }) { text }: z.infer<typeof body>) {
    const thing = await this.work.provider(async (tx) => {
      script.begun += 1;
      const id = randomUUID();
      await tx.execute(`INSERT INTO mail_message (id, recipient, subject, body) VALUES ($1, $2, '', '')`, [id, text]);
      await script.hold;
      if (script.failBefore) throw new NotNowError();
      return { id, secret: `secret of ${id}`, column: 'never shown' };
    });
    if (script.failAfterCommit) throw new Error('the process was killed here');
    return thing;
  }

  @Post('guarded')
  @IdempotencyKeyRequired()
  @Answers({ status: 204, summary: 'Wants a key' })
  async guarded(): Promise<void> {
    await this.work.provider((tx) => tx.query('SELECT 1'));
  }

  @Get()
  @Answers({ status: 200, summary: 'Nothing', schema: z.object({}) })
  list() {
    return {};
  }
}

class Root {}

describe('Idempotency-Key', () => {
  let database: ControlDatabase;
  let app: NestFastifyApplication;
  let admin: pg.Client;

  beforeAll(async () => {
    database = await createControlDatabase();
    Module({
      imports: [
        TelemetryModule.forProcess('http test', 'silent'),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: database.tenantUrl, applicationName: 'test', max: 2 },
          provider: { url: database.providerUrl, applicationName: 'test', max: 8 },
        }),
      ],
      controllers: [Things],
    })(Root);
    app = await createHttpApp(Root, { publicUrl: 'http://test', secret: 's'.repeat(40), title: 'Test', version: '1' });
    await app.listen(0, '127.0.0.1');
    admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
  });
  afterAll(async () => {
    await app.close();
    await admin.end();
    await database.drop();
  });
  beforeEach(async () => {
    Object.assign(script, { hold: Promise.resolve(), begun: 0, failBefore: false, failAfterCommit: false });
    await admin.query('TRUNCATE mail_message, idempotency_key');
  });

  const post = async (key: string | undefined, value: unknown = { text: 'one' }, path = '/v1/things') => {
    const response = await fetch(`${await app.getUrl()}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { 'idempotency-key': key }) },
      body: JSON.stringify(value),
    });
    const text = await response.text();
    const replayed = response.headers.get('idempotency-replayed');
    return { status: response.status, replayed, body: text === '' ? undefined : JSON.parse(text) };
  };
  const count = async (): Promise<number> => (await admin.query('SELECT FROM mail_message')).rowCount ?? 0;

  it('201 and the same answer again, the secret in it too, which the database does not hold in clear', async () => {
    const key = randomUUID();
    const first = await post(key);
    const second = await post(key);
    expect(first).toMatchObject({ status: 201, replayed: null });
    expect(second).toEqual({ ...first, replayed: 'true' });
    expect(await count()).toBe(1);
    const { rows } = await admin.query(
      `SELECT encode(answer, 'escape') AS answer, key_hash, request_hash FROM idempotency_key`,
    );
    expect(rows[0].answer).not.toContain('secret of');
    expect(JSON.stringify(rows)).not.toContain(key);
  });

  it('201 twice for two keys, and without any', async () => {
    const answers = [await post(randomUUID()), await post(randomUUID()), await post(undefined)];
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(await count()).toBe(3);
  });

  it('422 for another body under the same key', async () => {
    const key = randomUUID();
    await post(key);
    expect(await post(key, { text: 'two' })).toMatchObject({ status: 422, body: { code: 'idempotency.key-reused' } });
    expect(await count()).toBe(1);
  });

  it('409 while the first is in flight, then its answer', async () => {
    const key = randomUUID();
    const { promise, resolve } = Promise.withResolvers<void>();
    script.hold = promise;
    const first = post(key);
    await waitFor('the first request to begin', () => script.begun === 1, { timeoutMs: 5_000 });
    expect(await post(key)).toMatchObject({ status: 409, body: { code: 'idempotency.in-flight' } });
    resolve();
    expect(
      await post(key).then(async (answer) => (answer.status === 409 ? (await first, post(key)) : answer)),
    ).toMatchObject({
      status: 201,
    });
    expect(await count()).toBe(1);
  });

  it('201 on a retry after a refusal: nothing was changed, so nothing is remembered', async () => {
    const key = randomUUID();
    script.failBefore = true;
    expect((await post(key)).status).toBe(409);
    script.failBefore = false;
    expect((await post(key)).status).toBe(201);
    expect(await count()).toBe(1);
  });

  it('201 replayed when the process dies between the commit and the answer: the change is made once', async () => {
    const key = randomUUID();
    script.failAfterCommit = true;
    expect((await post(key)).status).toBe(500);
    script.failAfterCommit = false;
    expect(await post(key)).toMatchObject({ status: 201, replayed: 'true', body: { id: expect.any(String) } });
    expect(await count()).toBe(1);
  });

  it('a claim that expired and was taken over makes the slow first request roll back', async () => {
    const key = randomUUID();
    const { promise, resolve } = Promise.withResolvers<void>();
    script.hold = promise;
    const slow = post(key);
    await waitFor('the first request to begin', () => script.begun === 1, { timeoutMs: 5_000 });
    await admin.query(`UPDATE idempotency_key SET claimed_until = now() - interval '1 second'`);
    script.hold = Promise.resolve();
    const second = await post(key);
    resolve();
    expect([second.status, (await slow).status]).toEqual([201, 409]);
    expect(await count()).toBe(1);
    expect(await post(key)).toMatchObject({ status: 201, body: second.body });
  });

  it('one of sixteen at once makes the change', async () => {
    const key = randomUUID();
    const { promise, resolve } = Promise.withResolvers<void>();
    script.hold = promise;
    const asked = Array.from({ length: 16 }, () => post(key));
    await waitFor('the one that goes through to begin', () => script.begun === 1, { timeoutMs: 5_000 });
    resolve();
    const answers = await Promise.all(asked);
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].every((status) => status === 201 || status === 409)).toBe(true);
    expect(await count()).toBe(1);
  });

  it('400 without a key where one is required, and for a key that is none', async () => {
    expect(await post(undefined, {}, '/v1/things/guarded')).toMatchObject({
      status: 400,
      body: { code: 'idempotency.key-required' },
    });
    expect(await post('short', {}, '/v1/things/guarded')).toMatchObject({
      status: 400,
      body: { code: 'idempotency.key-invalid' },
    });
    const key = randomUUID();
    expect([await post(key, {}, '/v1/things/guarded'), await post(key, {}, '/v1/things/guarded')]).toMatchObject([
      { status: 204, replayed: null },
      { status: 204, replayed: 'true' },
    ]);
  });
});
