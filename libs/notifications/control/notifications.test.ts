import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { DatabaseModule, UnitOfWork } from '#libs/platform/database';
import { MailModule } from '#libs/platform/mail';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { Outbox, OUTBOX_JOBS, OutboxModule } from '#libs/platform/outbox';
import { QueueModule } from '#libs/platform/queue';
import { TENANCY_JOBS, TenancyModule } from '#libs/tenancy/control';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { type Notice, NotificationsModule, noticeRaised } from './index.js';

class Root {}

const notice = (dedupeKey: string): Notice => ({
  kind: 'replication.disarmed',
  severity: 'alarm',
  title: 'permits is not armed',
  text: 'Writes are no longer confirmed by the metro site.',
  subjectIds: { workloadId: 'b7f5a0a6-0000-4000-8000-000000000001' },
  dedupeKey,
});

describe('notices', () => {
  let database: ControlDatabase;
  let admin: pg.Client;
  let work: UnitOfWork;
  let outbox: Outbox;
  let close: () => Promise<void>;
  const elm = randomUUID();
  const oak = randomUUID();

  beforeAll(async () => {
    database = await createControlDatabase();
    Module({
      imports: [
        TelemetryModule.forProcess('notices test', 'silent'),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: database.tenantUrl, applicationName: 'test', max: 4 },
          provider: { url: database.providerUrl, applicationName: 'test', max: 8 },
        }),
        QueueModule.forProcess({
          url: database.queueUrl,
          prefix: 'control',
          runs: [...OUTBOX_JOBS, ...TENANCY_JOBS] as never,
        }),
        OutboxModule.delivering(),
        MailModule,
        TenancyModule.forWorker(),
        NotificationsModule.telling(),
      ],
    })(Root);
    const app = await NestFactory.createApplicationContext(Root, { logger: false, abortOnError: false });
    [work, outbox] = [app.get(UnitOfWork), app.get(Outbox)];
    close = () => app.close();
    admin = new pg.Client({ connectionString: database.adminUrl });
    await admin.connect();
    for (const [id, town] of [
      [elm, 'elm'],
      [oak, 'oak'],
    ] as const) {
      await admin.query(
        `INSERT INTO agency (id, name, government_kind, state_code, contact_name, contact_email)
         VALUES ($1, $2, 'town', 'VT', 'Contact', $3)`,
        [id, `Town of ${town}`, `contact@${town}.example`],
      );
      for (const [role, mayDeclare] of [
        ['owner', true],
        ['operator', false],
        ['auditor', false],
        ['auditor', true],
      ] as const) {
        const userId = randomUUID();
        const email = `${role}${mayDeclare ? '-declares' : ''}@${town}.example`;
        await admin.query(`INSERT INTO auth."user" (id, name, email, "emailVerified") VALUES ($1, 'x', $2, true)`, [
          userId,
          email,
        ]);
        await admin.query(
          `INSERT INTO member (tenant_id, id, user_id, email, name, role, may_declare) VALUES ($1, $2, $3, $4, 'x', $5, $6)`,
          [id, randomUUID(), userId, email, role, mayDeclare],
        );
      }
    }
  });
  afterAll(async () => {
    await close();
    await admin.end();
    await database.drop();
  });
  beforeEach(() => admin.query('TRUNCATE mail_message, notice, outbox_event'));

  const raise = (tenantId: string, dedupeKey: string): Promise<void> =>
    work.tenant(tenantId, (tx) => outbox.publish(tx, noticeRaised, tenantId, notice(dedupeKey)));
  const delivered = (): Promise<unknown> =>
    waitFor(
      'all events to be delivered',
      async () => (await admin.query('SELECT FROM outbox_event WHERE delivered_at IS NULL')).rowCount === 0,
      { timeoutMs: 20_000 },
    );

  it('tells contact, owners, operators and who may declare, of that agency alone', async () => {
    await raise(elm, 'disarmed/1');
    await delivered();
    const { rows } = await admin.query(`SELECT recipient, subject, body FROM mail_message ORDER BY recipient`);
    expect(rows.map(({ recipient }) => recipient)).toEqual([
      'auditor-declares@elm.example',
      'contact@elm.example',
      'operator@elm.example',
      'owner-declares@elm.example',
    ]);
    expect(rows[0].subject).toBe('ALARM: permits is not armed');
    expect(rows[0].body).toContain('Town of elm');
  });

  it('tells a repetition within the hour once, counts it, and tells again afterwards', async () => {
    for (let i = 0; i < 5; i++) await raise(elm, 'flapping');
    await raise(oak, 'flapping');
    await delivered();
    const { rows } = await admin.query(`SELECT tenant_id, repeats FROM notice ORDER BY repeats`);
    expect(rows).toEqual([
      { tenant_id: oak, repeats: 0 },
      { tenant_id: elm, repeats: 4 },
    ]);
    expect((await admin.query('SELECT FROM mail_message')).rowCount).toBe(8);
    await admin.query(`UPDATE notice SET created_at = now() - interval '61 minutes'`);
    await raise(elm, 'flapping');
    await delivered();
    expect((await admin.query('SELECT FROM mail_message')).rowCount).toBe(12);
  });
});
