import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { SMTPServer } from 'smtp-server';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { QueueModule } from '#libs/platform/queue';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { MailModule } from './index.js';
import { SendMailHandler, SweepMailHandler } from './mail-sending.js';

class Root {}

/** Refuses as SMTP servers do, by the name of the recipient, and answers to DATA when it is let. */
class PostOffice {
  readonly received: string[] = [];
  held: Promise<void> = Promise.resolve();
  private readonly server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['AUTH', 'STARTTLS'],
    logger: false,
    onRcptTo: ({ address }, _session, callback) => {
      const code = Number(/^refused-(\d{3})/.exec(address)?.[1] ?? 0);
      callback(code === 0 ? null : Object.assign(new Error('no such mailbox'), { responseCode: code }));
    },
    onData: (stream, _session, callback) => {
      text(stream)
        .then((message) => this.received.push(message))
        .then(() => this.held)
        .then(() => callback(), callback);
    },
  });

  async listen(): Promise<number> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server.server, 'listening');
    return (this.server.server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

describe('mails', () => {
  let database: ControlDatabase;
  let admin: pg.Client;
  let office: PostOffice;
  let sender: SendMailHandler;
  let sweep: SweepMailHandler;
  let close: () => Promise<void>;

  beforeAll(async () => {
    database = await createControlDatabase();
    office = new PostOffice();
    const port = await office.listen();
    Module({
      imports: [
        TelemetryModule.forProcess('mail test', 'silent'),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: database.tenantUrl, applicationName: 'mail test', max: 2 },
          provider: { url: database.providerUrl, applicationName: 'mail test', max: 4 },
        }),
        QueueModule.forProcess({ url: database.queueUrl, prefix: 'control', runs: [] }),
        MailModule,
        MailModule.sending({
          smtpUrl: `smtp://127.0.0.1:${port}`,
          from: 'Mainstay <m@provider.example>',
          silenceMs: 5_000,
        }),
      ],
    })(Root);
    const app = await NestFactory.createApplicationContext(Root, { logger: false, abortOnError: false });
    sender = app.get(SendMailHandler, { strict: false });
    sweep = app.get(SweepMailHandler, { strict: false });
    close = () => app.close();
    admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
  });
  afterAll(async () => {
    await close();
    await office.close();
    await admin.end();
    await database.drop();
  });
  beforeEach(async () => {
    await admin.query('TRUNCATE mail_message');
    office.received.length = 0;
  });

  const write = async (recipient: string, more: Record<string, unknown> = {}): Promise<string> => {
    const row = { id: randomUUID(), recipient, subject: 'Subject', body: 'a one-time link', ...more };
    const names = Object.keys(row);
    await admin.query(
      `INSERT INTO mail_message (${names.join(', ')}) VALUES (${names.map((_, i) => `$${i + 1}`).join(', ')})`,
      Object.values(row),
    );
    return row.id;
  };
  const row = async (id: string) =>
    (
      await admin.query(
        `SELECT sent_at IS NOT NULL AS sent, failed_at IS NOT NULL AS failed, attempts, body, last_error,
                next_attempt_at > now() AS later, claimed_until IS NOT NULL AS claimed FROM mail_message WHERE id = $1`,
        [id],
      )
    ).rows[0];

  it('holds no transaction and no row while the server takes its time, and sends once whoever else comes', async () => {
    const id = await write('slow@elm.example');
    let release = (): void => undefined;
    office.held = new Promise((resolve) => (release = resolve));
    const sending = sender.handle({ mailId: id });
    await waitFor('the server to have the mail', () => office.received.length === 1, { timeoutMs: 10_000 });
    const { rows: open } = await admin.query(
      `SELECT FROM pg_stat_activity WHERE application_name = 'mail test' AND state LIKE 'idle in transaction%'`,
    );
    expect(open).toEqual([]);
    await admin.query('BEGIN');
    expect((await admin.query('SELECT FROM mail_message WHERE id = $1 FOR UPDATE NOWAIT', [id])).rowCount).toBe(1);
    await admin.query('COMMIT');
    await Promise.all([sender.handle({ mailId: id }), sender.handle({ mailId: id })]);
    expect(office.received).toHaveLength(1);
    release();
    await sending;
    expect(await row(id)).toMatchObject({ sent: true, claimed: false, body: '', attempts: 1 });
    expect(office.received[0]).toMatch(new RegExp(`^Message-ID: <${id}@mainstay>`, 'im'));
  });

  it('a sender that died with a mail in hand leaves it to the next, under the same Message-ID', async () => {
    const id = await write('again@elm.example', { claim_id: randomUUID(), claimed_until: '2001-01-01', attempts: 1 });
    await sender.handle({ mailId: id });
    expect(await row(id)).toMatchObject({ sent: true, attempts: 2 });
  });

  it('a mail that the server refuses for good is not tried again, and says why', async () => {
    const id = await write('refused-550@elm.example');
    await expect(sender.handle({ mailId: id })).rejects.toThrow('given up');
    expect(await row(id)).toMatchObject({ sent: false, failed: true, attempts: 1, body: '' });
    expect((await row(id)).last_error).toMatch(/rejected/);
    await sender.handle({ mailId: id });
    expect(await row(id)).toMatchObject({ attempts: 1 });
  });

  it('a mail that the server refuses for now is tried later, not at once, and given up after three days', async () => {
    const id = await write('refused-451@elm.example');
    await expect(sender.handle({ mailId: id })).rejects.toThrow('tried again in 10 s');
    expect(await row(id)).toMatchObject({ failed: false, later: true, attempts: 1, body: 'a one-time link' });
    await sender.handle({ mailId: id });
    expect(await row(id)).toMatchObject({ attempts: 1 });
    await admin.query(`UPDATE mail_message SET next_attempt_at = now(), created_at = now() - interval '4 days'`);
    await expect(sender.handle({ mailId: id })).rejects.toThrow('given up');
    expect(await row(id)).toMatchObject({ failed: true, attempts: 2, body: '' });
  });

  it('a sweep finds a mail whose wake-up was lost, however many undeliverable ones are due before it', async () => {
    await admin.query(
      `INSERT INTO mail_message (id, recipient, subject, body, attempts, next_attempt_at)
       SELECT gen_random_uuid(), 'refused-451@elm.example', 's', 'b', 3, now() - interval '1 hour' FROM generate_series(1, 500)`,
    );
    const lost = await write('lost@elm.example', { next_attempt_at: new Date(Date.now() - 60_000) });
    await sweep.handle();
    const { rows } = await admin.query(`SELECT FROM bullmq.job WHERE data::text LIKE $1`, [`%${lost}%`]);
    expect(rows).toHaveLength(1);
  });
});
