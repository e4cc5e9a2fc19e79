import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { JobQueue } from '#libs/platform/queue';
import { TEST_NAMES } from '#test/agency';
import type { WarmSite } from '#test/warm-site';
import { WarmWorld } from '#test/warm-world';
import { StepBoundaries } from './boundaries.js';

// A site where more failovers fail again and again than it works on at once: their standbys are not there.
const SICK = 40;
const world = new WarmWorld();
let site: WarmSite;

beforeAll(async () => {
  await world.openAgency();
  site = await world.openSite('metro');
  await site.protect();
  await site.until('the metro to be armed', (health) => health.armed === true);
});
afterAll(() => world.close());

const retrying = async (): Promise<number> => {
  const [row] = await site.work.run((tx) =>
    tx.query<{ count: number }>(`SELECT count(*)::int AS count FROM failover_step WHERE state = 'retrying'`),
  );
  return row?.count ?? 0;
};

test('a failover begins and ends while others, more than have places, can come to nothing', async () => {
  await site.work.run(async (tx) => {
    await tx.execute(
      `INSERT INTO standby (workload_id, tenant_id, agent_id, workload_name, role, mode, state, epoch, names, hold)
       SELECT gen_random_uuid(), $1, $2, 'sick', 'metro', 'strict', 'streaming', 1, $3, 'failover'
         FROM generate_series(1, $4)`,
      [randomUUID(), randomUUID(), JSON.stringify(TEST_NAMES), SICK],
    );
    await tx.execute(
      `INSERT INTO failover_run (id, workload_id, tenant_id, order_id, declaration, epoch, names, other_site,
                                 no_degrade_granted, accepted_loss, old_server, followed, state)
       SELECT gen_random_uuid(), workload_id, tenant_id, gen_random_uuid(), 1, 2, names, NULL, true,
              '{"kind": "unknown"}', 'destroyed', 'agency', 'accepted' FROM standby WHERE workload_name = 'sick'`,
    );
  });
  await waitFor('all to have failed', async () => (await retrying()) === SICK, { timeoutMs: 60_000, everyMs: 100 });
  const runId = await site.failover();
  expect((await site.finished(runId)).state).toBe('completed');
  // One of them may be at its next attempt just now.
  await waitFor('all others to be tried on', async () => (await retrying()) === SICK, { timeoutMs: 30_000 });
}, 120_000);

test('what fails again and again fills neither the queue nor the outbox, and is tried all the same', async () => {
  let rounds = 0;
  site.app.get(StepBoundaries).reached = async (_runId, _step, edge) => {
    if (edge === 'begun') rounds += 1;
  };
  const told = async (): Promise<number> => {
    const rows = await site.work.run((tx) =>
      tx.query<{ count: number }>(
        `SELECT count(*)::int AS count FROM site_result WHERE kind = 'failover.event'
          GROUP BY payload->>'runId' ORDER BY 1 DESC LIMIT 1`,
      ),
    );
    return rows[0]?.count ?? 0;
  };
  await waitFor('three more rounds', () => rounds > 3 * SICK, { timeoutMs: 60_000, everyMs: 100 });
  expect(await told()).toBeLessThan(40);
  for (const queue of ['runs', 'retries'] as const) {
    const { waiting, delayed } = await site.app.get(JobQueue).depth(queue);
    // Of each run at most one that the sweep added, and one that the run itself did.
    expect(waiting + delayed).toBeLessThanOrEqual(2 * SICK);
  }
}, 120_000);
