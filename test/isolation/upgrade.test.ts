import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { QueryRunner } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { SignUpConfirmation1790000000020 } from '../../migrations/control/0020-sign-up-confirmation.js';
import { Makers1790000000021 } from '../../migrations/control/0021-makers.js';
import { SignIn1790000000022 } from '../../migrations/control/0022-sign-in.js';
import { MailDelivery1790000000023 } from '../../migrations/control/0023-mail-delivery.js';
import { NarrowRights1790000000024 } from '../../migrations/control/0024-narrow-rights.js';

let database: ControlDatabase;
let owner: pg.Client;
let admin: pg.Client;

beforeAll(async () => {
  database = await createControlDatabase();
  owner = new pg.Client({ connectionString: database.ownerUrl });
  admin = new pg.Client({ connectionString: database.adminUrl });
  await owner.connect();
  await admin.connect();
  // A copied database belongs to who copied it; an installation's is its owner's own.
  await admin.query('GRANT CREATE ON SCHEMA public TO mainstay_owner');
});
afterAll(async () => {
  await owner.end();
  await admin.end();
  await database.drop();
});

it('goes back and forth with rows there; who made what before is learnt from the log', async () => {
  const runner = { query: (sql: string) => owner.query(sql) } as unknown as QueryRunner;
  const changes = [
    new SignUpConfirmation1790000000020(),
    new Makers1790000000021(),
    new SignIn1790000000022(),
    new MailDelivery1790000000023(),
    new NarrowRights1790000000024(),
  ];
  for (const change of [...changes].reverse()) await change.down(runner);
  const [agency, maker, invitation, token, lost] = Array.from({ length: 5 }, () => randomUUID());
  await admin.query(
    `INSERT INTO mail_message (id, recipient, subject, body) VALUES (gen_random_uuid(), 'a', 'b', 'c')`,
  );
  await admin.query(
    `INSERT INTO agency (id, name, government_kind, state_code, contact_name, contact_email) VALUES ($1, 'e', 'town', 'VT', 'c', 'c')`,
    [agency],
  );
  for (const [id, email] of [
    [invitation, 'a@elm.example'],
    [lost, 'b@elm.example'],
  ]) {
    await admin.query(
      `INSERT INTO invitation (tenant_id, id, email, role, may_declare, token_hash, invited_by, expires_at)
       VALUES ($1, $2::uuid, $3, 'auditor', false, sha256(convert_to($2::uuid::text, 'UTF8')), 'x', now() + interval '1 day')`,
      [agency, id, email],
    );
  }
  await admin.query(
    `INSERT INTO enrolment_token (tenant_id, id, name, token_hash, expires_at) VALUES ($1, $2, 'a', 'h', now())`,
    [agency, token],
  );
  await admin.query(`SELECT set_config('session_replication_role', 'replica', false)`);
  for (const [number, action, subject] of [
    [1, 'member.invited', invitation],
    [2, 'enrolment-token.made', token],
  ]) {
    await admin.query(
      `INSERT INTO audit_entry (tenant_id, number, at, actor_kind, actor_id, actor_name, action, subject_kind, subject_id, detail, previous_hash, hash)
       VALUES ($1, $2, now(), 'member', $3, 'x', $4, 'x', $5, '{}', '', '')`,
      [agency, number, maker, action, subject],
    );
  }
  for (const change of changes) await change.up(runner);
  const { rows } = await admin.query(
    `SELECT id, made_by FROM invitation UNION ALL SELECT id, made_by FROM enrolment_token`,
  );
  expect(new Map(rows.map(({ id, made_by }) => [id, made_by]))).toEqual(
    new Map([
      [invitation, maker],
      [lost, null],
      [token, maker],
    ]),
  );
  const { rows: unforced } = await admin.query(
    `SELECT relname FROM pg_class WHERE relname IN ('invitation', 'enrolment_token', 'audit_entry') AND NOT relforcerowsecurity`,
  );
  expect(unforced).toEqual([]);
});
