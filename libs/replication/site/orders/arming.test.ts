import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';
import { DegradeExpiredError } from '../replication.errors.js';
import { DegradeOrderHandler } from './arming.order.js';

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;

beforeAll(async () => {
  agency = await TestAgency.start();
  desk = await AgencyDesk.open(agency);
  metro = await WarmSite.start({ role: 'metro', desk, workloadId, tenantId });
  await metro.protect();
});
afterAll(async () => {
  await metro?.close();
  await desk?.close();
  await agency?.remove();
});

/** A grant for ten minutes that was issued so many seconds ago and arrives now. */
async function grant(number: number, secondsAgo: number): Promise<void> {
  const payload = { workloadId, requestId: randomUUID(), seconds: 600, reason: 'line works' };
  const id = randomUUID();
  await metro.work.run((tx) =>
    tx.execute(
      `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, state)
       VALUES ($1, $2, 'test', $3, $4, now() - make_interval(secs => $5), 'done')`,
      [id, number, tenantId, JSON.stringify(payload), secondsAgo],
    ),
  );
  await metro.app.get(DegradeOrderHandler).carryOut({ id, number, tenantId, payload });
}

test('a grant counts from its issue: what is left of it is granted, and nothing when its time is over', async () => {
  await expect(grant(1_001, 601)).rejects.toThrow(DegradeExpiredError);
  await grant(1_002, 300);
  const [row] = await metro.work.run((tx) =>
    tx.query<{ early: boolean; late: boolean }>(
      `SELECT disarm_expires_at <= now() + interval '300 seconds' AS early,
              disarm_expires_at > now() + interval '200 seconds' AS late FROM armed_lease WHERE workload_id = $1`,
      [workloadId],
    ),
  );
  expect(row).toEqual({ early: true, late: true });
});
