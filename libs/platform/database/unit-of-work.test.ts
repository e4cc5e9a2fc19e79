import { Test, type TestingModule } from '@nestjs/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TelemetryModule } from '#libs/platform/nest';
import { type ControlDatabase, createControlDatabase } from '#test/databases';
import { DatabaseModule, LostTransactionError, UnitOfWork } from './index.js';

const TENANT = '3f2b1c58-6f57-4b7e-9a55-0d5a4f3f8a11';
let database: ControlDatabase;
let app: TestingModule;
let work: UnitOfWork;

beforeAll(async () => {
  database = await createControlDatabase();
  app = await Test.createTestingModule({
    imports: [
      TelemetryModule.forProcess('unit of work test', 'silent'),
      DatabaseModule.forControl({
        tenant: { url: database.tenantUrl, applicationName: 'tenant', max: 2 },
        provider: { url: database.providerUrl, applicationName: 'provider', max: 2 },
      }),
    ],
  }).compile();
  work = app.get(UnitOfWork);
});
afterAll(async () => {
  await app?.close();
  await database?.drop();
});

const setting = `SELECT current_setting('app.tenant_id', true) AS tenant, current_user AS role`;

test('a tenant transaction carries its tenant, and the connection forgets it afterwards', async () => {
  const inside = await work.tenant(TENANT, (tx) => tx.query(setting));
  expect(inside).toEqual([{ tenant: TENANT, role: 'mainstay_tenant' }]);
  const after = await Promise.all([1, 2, 3].map(() => work.provider((tx) => tx.query<{ tenant: string }>(setting))));
  for (const [row] of after) expect(row?.tenant ?? '').toBe('');
});

test('an id that is no UUID never reaches a statement', () => {
  expect(() => work.tenant(`x', true); DROP TABLE outbox_event; --`, () => Promise.resolve())).toThrow(TypeError);
});

test('a failure rolls everything back, and actions after commit do not run', async () => {
  let ran = false;
  const write = work.provider(async (tx) => {
    await tx.execute(
      `INSERT INTO mail_message (id, recipient, subject, body) VALUES (gen_random_uuid(), 'a', 'b', 'c')`,
    );
    tx.afterCommit(() => (ran = true));
    throw new Error('no');
  });
  await expect(write).rejects.toThrow('no');
  const [row] = await work.provider((tx) => tx.query<{ n: number }>('SELECT count(*)::int AS n FROM mail_message'));
  expect(row?.n).toBe(0);
  expect(ran).toBe(false);
});

test('a swallowed statement error is noticed at COMMIT instead of losing the change silently', async () => {
  const write = work.provider(async (tx) => {
    await tx.execute(
      `INSERT INTO mail_message (id, recipient, subject, body) VALUES (gen_random_uuid(), 'a', 'b', 'c')`,
    );
    await tx.query('SELECT 1 / 0').catch(() => undefined);
  });
  await expect(write).rejects.toThrow(LostTransactionError);
});

test('a savepoint that fails leaves the rest usable', async () => {
  const changed = await work.provider(async (tx) => {
    await tx.savepoint(() => tx.query('SELECT 1 / 0')).catch(() => undefined);
    return tx.execute(
      `INSERT INTO mail_message (id, recipient, subject, body) VALUES (gen_random_uuid(), 's', 'b', 'c')`,
    );
  });
  expect(changed).toBe(1);
  const rows = await work.provider((tx) => tx.query(`SELECT FROM mail_message WHERE recipient = 's'`));
  expect(rows).toHaveLength(1);
});
