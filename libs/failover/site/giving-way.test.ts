import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { TEST_NAMES, TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';
import { RunTooLateError } from './index.js';

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let regional: WarmSite;

const asks = (site: WarmSite, runId: string) =>
  waitFor('the run to ask', async () => (await site.runState(runId)) === 'awaiting-confirmation', {
    timeoutMs: 10_000,
  });
const write = (site: WarmSite, text: string) => site.work.run((tx) => tx.execute(text, [workloadId]));

beforeAll(async () => {
  agency = await TestAgency.start();
  desk = await AgencyDesk.open(agency);
  [metro, regional] = (await Promise.all(
    (['metro', 'regional'] as const).map((role) => WarmSite.start({ role, desk, workloadId, tenantId })),
  )) as [WarmSite, WarmSite];
  await Promise.all([metro.protect({ peer: regional.asPeer }), regional.protect({ peer: metro.asPeer })]);
  await metro.until('the metro to be armed', (health) => health.armed === true);
  await regional.until('the regional to stream', (health) => health.state === 'streaming');
});
afterAll(async () => {
  await Promise.all([metro?.close(), regional?.close()]);
  await desk?.close();
  await agency?.remove();
});

test('a run that has not promoted gives way to a newer one, which believes what the other site was told', async () => {
  const older = await regional.failover({ epoch: 2 });
  await asks(regional, older);
  desk.alive = false;
  await write(
    regional,
    `UPDATE source_report SET contrary = 'no site is listed', contrary_at = clock_timestamp() WHERE workload_id = $1`,
  );
  const newer = await metro.failover({ epoch: 3, otherSite: regional.asPeer });
  await asks(metro, newer);
  expect((await regional.finished(older)).state).toBe('cancelled');
  const [held] = await regional.work.run((tx) => tx.query<{ hold: string }>('SELECT hold FROM standby'));
  expect(held?.hold).toContain('epoch 3');
  // The agent was told to stop its server and did not answer: it may have done it.
  await expect(metro.cancel(newer)).rejects.toThrow(RunTooLateError);
  await metro.confirm(newer);
  expect(await metro.finished(newer)).toMatchObject({ state: 'completed', report: { loss: { kind: 'unknown' } } });
  await regional.until('the regional to follow', ({ epoch, state }) => epoch === 3 && state === 'streaming');
  expect((await regional.health())?.frontDoor?.leadsTo).toBe('closed');
});

test('a site that no longer follows is asked again, with a new password', async () => {
  const reader = async () =>
    (await metro.sql<{ pid: number | null }>('SELECT active_pid AS pid FROM pg_replication_slots'))[0]?.pid ?? null;
  const before = await waitFor('the slot to be read', reader, { timeoutMs: 10_000 });
  await metro.sql(`ALTER ROLE ${TEST_NAMES.regionalRole} PASSWORD 'another'`);
  await metro.sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
  await waitFor(
    'the regional to follow again',
    async () => {
      const pid = await reader();
      return pid !== null && pid !== before;
    },
    { timeoutMs: 30_000 },
  );
});

test('a run that comes after a newer promotion fails, and promotes nothing', async () => {
  await write(metro, 'UPDATE standby SET epoch = 9 WHERE workload_id = $1');
  const runId = await regional.failover({ epoch: 4, otherSite: metro.asPeer, acceptedLoss: { kind: 'unknown' } });
  expect((await regional.finished(runId)).state).toBe('failed');
  expect((await regional.driver.position(workloadId)).inRecovery).toBe(true);
});

test('a primary whose door was closed for a promotion that never came opens it again', async () => {
  await write(metro, `UPDATE front_door SET leads_to = 'closed' WHERE workload_id = $1`);
  await metro.until('the door to be open', ({ frontDoor }) => frontDoor?.leadsTo === 'standby');
});
