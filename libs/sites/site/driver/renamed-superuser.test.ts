import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { connect, quoteLiteral, withClient } from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { bringUp, catchUp, followTarget, headOf, PASSWORD } from './testing/standby-scene.js';
import { ProcessDriver } from './process-driver.js';

const workloadId = randomUUID();
let root: string;
let primary: TestServer;
let driver: ProcessDriver;

beforeAll(async () => {
  root = await testFolder('site');
  primary = await TestServer.primary(await testFolder('agency'), {}, 'county_admin');
  for (const role of ['dba SUPERUSER', 'mainstay_metro REPLICATION']) {
    await primary.sql(`CREATE ROLE ${role} LOGIN PASSWORD ${quoteLiteral(PASSWORD)}`);
  }
  driver = new ProcessDriver({ root, durable: false });
  const slot = await bringUp(driver, primary, workloadId);
  await driver.follow(workloadId, { ...followTarget(primary.port, slot), user: 'mainstay_metro' });
  await catchUp(driver, workloadId, await headOf(primary));
});
afterAll(async () => {
  await driver.remove(workloadId);
  await primary.remove();
  await rm(root, { recursive: true, force: true });
});

/** Under the name that nothing is done to; answers where the log ends then. */
const asDba = (statement: string) =>
  withClient({ ...primary.connection, user: 'dba' }, async (client) => {
    await client.query(statement);
    return (await client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn')).rows[0]!.lsn;
  });

test('an agency renames its superuser, and the site still finds its way in', async () => {
  await catchUp(driver, workloadId, await asDba('ALTER ROLE county_admin RENAME TO chief'));
  await driver.createSlot(workloadId, 'for_the_other');
});

test('renamed again, with the role’s usual database closed to others, just before the promotion', async () => {
  const { port } = await driver.endpoint(workloadId);
  const seen = await connect({
    host: '127.0.0.1',
    port,
    user: 'dba',
    password: PASSWORD,
    applicationName: 'a look that is not the driver’s',
  });
  await asDba('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
  const head = await asDba('ALTER ROLE chief RENAME TO commissioner');
  await waitFor(
    'the standby to replay it',
    async () =>
      (await seen.query<{ done: boolean }>('SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn AS done', [head])).rows[0]!
        .done,
    { timeoutMs: 30_000 },
  );
  await seen.end();
  await driver.pauseReceiving(workloadId);
  expect(await driver.promote(workloadId)).toMatchObject({ timeline: 2 });
  await driver.checkWritable(workloadId);
});

test('a superuser that may not sign in any more is said, and not looked for without end', async () => {
  const client = await driver.connect(workloadId, 'test');
  await client.query('ALTER ROLE commissioner NOLOGIN');
  await client.end();
  await expect(driver.position(workloadId)).rejects.toMatchObject({ code: '28000' });
});
