import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { degradeOrder, preflightOrder, rearmOrder } from '#contracts/replication';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { OrderClaims } from '../../../sites/site/orders/order-claims.js';
import { DegradeExpiredError } from '../replication.errors.js';
import { DegradeOrderHandler } from './arming.order.js';

const world = new WarmWorld();
const { workloadId, tenantId } = world;
let metro: WarmSite;

beforeAll(async () => {
  await world.openAgency();
  metro = await world.openSite('metro');
  await metro.protect();
});
afterAll(() => world.close());

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

test("a person's word on the synchronous site waits for no other orders of the agency", async () => {
  const insert = async (number: number, kind: string, claimed: boolean) => {
    const id = randomUUID();
    await metro.work.run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, state, work_key, claimed_until)
         VALUES ($1, $2, $3, $4, '{}', now(), 'received', $6,
                 CASE WHEN $5 THEN now() + interval '1 minute' END)`,
        [id, number, kind, tenantId, claimed, id],
      ),
    );
    return id;
  };
  /** Whoever of the site's is first. */
  const isClaimed = async (id: string) => {
    await metro.app.get(OrderClaims).claim(id);
    const [row] = await metro.work.run((tx) =>
      tx.query<{ attempts: number }>('SELECT attempts FROM site_order WHERE id = $1', [id]),
    );
    return (row?.attempts ?? 0) > 0;
  };
  // As many as are worked on at once, each at an agent whose server hangs.
  for (let number = 2_001; number <= 2_004; number++) await insert(number, preflightOrder.kind, true);
  expect(await isClaimed(await insert(2_005, preflightOrder.kind, false))).toBe(false);
  expect(await isClaimed(await insert(2_006, degradeOrder.kind, false))).toBe(true);
  expect(await isClaimed(await insert(2_007, rearmOrder.kind, false))).toBe(true);
});
