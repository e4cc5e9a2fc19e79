import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { QueryRunner } from 'typeorm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ControlDatabase, createControlDatabase, createSiteDatabase } from '#test/databases';
import { ClientNetworks1790000000015 } from '../../migrations/control/0015-client-networks.js';
import { SignUpConfirmation1790000000020 } from '../../migrations/control/0020-sign-up-confirmation.js';
import { Makers1790000000021 } from '../../migrations/control/0021-makers.js';
import { SignIn1790000000022 } from '../../migrations/control/0022-sign-in.js';
import { MailDelivery1790000000023 } from '../../migrations/control/0023-mail-delivery.js';
import { NarrowRights1790000000024 } from '../../migrations/control/0024-narrow-rights.js';
import { OpenDoors1790000000031 } from '../../migrations/control/0031-open-doors.js';
import { OpenPasswordResets1790000000032 } from '../../migrations/control/0032-open-password-resets.js';
import { WhatRestoresSaw1790000000022 } from '../../migrations/site/0022-what-restores-saw.js';

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

const runner = { query: (sql: string) => owner.query(sql) } as unknown as QueryRunner;

it('goes back and forth with rows there; who made what before is learnt from the log', async () => {
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

it('production that ran at a site before keeps its open door, and a person’s word about client networks stands', async () => {
  const agency = randomUUID();
  const open = ['0.0.0.0/0', '::/0'];
  // Rows without what they point to.
  await admin.query(`SELECT set_config('session_replication_role', 'replica', false)`);
  const workloads = new Map<string, string>();
  const protect = async (name: string, state: string): Promise<void> => {
    const id = randomUUID();
    workloads.set(name, id);
    await admin.query(
      `INSERT INTO protection (tenant_id, id, workload_id, agent_id, state, mode, metro_site_id, names)
       VALUES ($1, $2, $2, $2, $3, 'strict', $2, '{}')`,
      [agency, id, state],
    );
  };
  const said = (number: number, name: string, action: string, detail: unknown) =>
    admin.query(
      `INSERT INTO audit_entry (tenant_id, number, at, actor_kind, actor_id, actor_name, action, subject_kind, subject_id, detail, previous_hash, hash)
       VALUES ($1, $2, now(), 'member', null, 'x', $3, 'workload', $4, $5, '', '')`,
      [agency, number, action, workloads.get(name), JSON.stringify(detail)],
    );
  const networks = async (): Promise<Record<string, unknown>> => {
    const { rows } = await admin.query(`SELECT workload_id, client_networks FROM protection WHERE tenant_id = $1`, [
      agency,
    ]);
    const found = new Map(rows.map((row) => [row.workload_id, row.client_networks]));
    return Object.fromEntries([...workloads].map(([name, id]) => [name, found.get(id)]));
  };
  const change = new ClientNetworks1790000000015();
  await change.down(runner);
  await protect('at home', 'protecting');
  await protect('failed over', 'failed-over');
  await protect('on its way', 'failing-over');
  await change.up(runner);
  const right = { 'at home': [], 'failed over': open, 'on its way': open };
  expect(await networks()).toEqual(right);
  // As the same change left them where it saw no rows.
  await admin.query(`UPDATE protection SET client_networks = '{}' WHERE tenant_id = $1`, [agency]);
  await protect('made since', 'failed-over');
  await protect('closed since', 'failed-over');
  await said(1, 'made since', 'protection.created', { mode: 'strict', clientNetworks: [] });
  await said(2, 'closed since', 'protection.changed', { clientNetworks: [] });
  await said(3, 'failed over', 'protection.created', { mode: 'strict' });
  const repair = new OpenDoors1790000000031();
  await repair.up(runner);
  await repair.up(runner);
  expect(await networks()).toEqual({ ...right, 'made since': [], 'closed since': [] });
  const { rows: unforced } = await admin.query(
    `SELECT relname FROM pg_class WHERE relname IN ('protection', 'audit_entry') AND NOT relforcerowsecurity`,
  );
  expect(unforced).toEqual([]);
});

it('of several open tokens of a person the newest goes back to one a person', async () => {
  const [person, other] = [randomUUID(), randomUUID()];
  await admin.query(`SELECT set_config('session_replication_role', 'replica', false)`);
  for (const [who, hash, minutes] of [
    [person, 'a', 3],
    [person, 'b', 1],
    [other, 'c', 2],
  ]) {
    await admin.query(
      `INSERT INTO auth.password_reset (user_id, token_hash, mailed_at, expires_at)
       VALUES ($1, convert_to($2, 'UTF8'), now() - make_interval(mins => $3::int), now() + interval '1 hour')`,
      [who, hash, minutes],
    );
  }
  const change = new OpenPasswordResets1790000000032();
  await change.down(runner);
  const kept = async (): Promise<unknown[]> =>
    (await admin.query(`SELECT convert_from(token_hash, 'UTF8') AS hash FROM auth.password_reset ORDER BY 1`)).rows;
  expect(await kept()).toEqual([{ hash: 'b' }, { hash: 'c' }]);
  await change.up(runner);
  expect(await kept()).toEqual([{ hash: 'b' }, { hash: 'c' }]);
});

it('a site’s recovery points from before are there, and nothing was seen of them', async () => {
  const site = await createSiteDatabase();
  const url = new URL(database.adminUrl);
  url.pathname = new URL(site.url).pathname;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    const change = new WhatRestoresSaw1790000000022();
    const ofSite = { query: (sql: string) => client.query(sql) } as unknown as QueryRunner;
    await change.down(ofSite);
    const id = randomUUID();
    await client.query(
      `INSERT INTO vault_repository (repository_id, tenant_id, minimum_age_seconds) VALUES ($1, $1, 0)`,
      [id],
    );
    await client.query(
      `INSERT INTO archive (archive_id, tenant_id, workload_id, agent_id, workload_name, source, key_mode, state, policy)
       VALUES ($1, $1, $1, $1, 'share', 'files', 'escrowed', 'active', '{}')`,
      [id],
    );
    await client.query(
      `INSERT INTO archive_point (archive_id, snapshot_id, received_at, claimed_at, proof) VALUES ($1, 'a', now(), now(), '{}')`,
      [id],
    );
    await change.up(ofSite);
    const { rows } = await client.query(`SELECT snapshot_id, seen, seen_new FROM archive_point`);
    expect(rows).toEqual([{ snapshot_id: 'a', seen: null, seen_new: false }]);
  } finally {
    await client.end();
    await site.drop();
  }
});
