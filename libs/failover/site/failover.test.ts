import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { withClient } from '#libs/platform/postgres';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { WarmSite } from '#test/warm-site';

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;

beforeAll(async () => {
  agency = await TestAgency.start();
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY, note text)');
  await agency.query(`INSERT INTO permit (note) SELECT repeat('x', 200) FROM generate_series(1, 20000)`);
  desk = await AgencyDesk.open(agency);
  metro = await WarmSite.start({ role: 'metro', desk, workloadId, tenantId, level: 'debug' });
});
afterAll(async () => {
  await metro?.close();
  await desk?.close();
  await agency?.remove();
});

test('a metro standby is seeded, streams and is armed; the agency dies; it takes over and nothing is lost', async () => {
  await metro.protect();
  await metro.until('the metro to be armed', (health) => health.armed === true);
  await agency.query(`INSERT INTO permit (note) VALUES ('acknowledged')`);
  desk.alive = false;
  await agency.server.kill9();
  const runId = await metro.failover();
  const { state, report } = await metro.finished(runId);
  expect(state).toBe('completed');
  expect(report).toMatchObject({ loss: { kind: 'none' }, promotedTimeline: 2 });
  console.log(report, await metro.results('failover.event'));
  const { port } = await metro.driver.endpoint(workloadId);
  const rows = await withClient(
    { host: '127.0.0.1', port, user: 'postgres', password: 'town', applicationName: 'clerk' },
    async (client) => (await client.query(`SELECT count(*)::int AS n FROM permit WHERE note = 'acknowledged'`)).rows,
  );
  expect(rows).toEqual([{ n: 1 }]);
  await waitFor('primary', async () => (await metro.health())?.state === 'primary', { timeoutMs: 5_000 });
});
