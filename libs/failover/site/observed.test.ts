import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RUN_STEPS } from '#contracts/failover';
import { waitFor } from '#libs/platform/clock';
import { type Collector, Metrics, startTracing, withSpan } from '#libs/platform/telemetry';
import { TestAgency } from '#test/agency';
import { AgencyDesk } from '#test/agency-desk';
import { OtlpReceiver } from '#test/otlp-receiver';
import { Scraped } from '#test/scrape';
import { WarmSite } from '#test/warm-site';
import { failoverCollector, runOpen } from './failover.metrics.js';

const workloadId = randomUUID();
const tenantId = randomUUID();
let agency: TestAgency;
let desk: AgencyDesk;
let metro: WarmSite;
let receiver: OtlpReceiver;
let endTracing: () => Promise<void>;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  agency = await TestAgency.start();
  await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY, note text)');
  desk = await AgencyDesk.open(agency);
  metro = await WarmSite.start({ role: 'metro', desk, workloadId, tenantId });
  endTracing = await startTracing({ process: 'site test', endpoint: receiver.endpoint });
});
afterAll(async () => {
  await metro?.close();
  await desk?.close();
  await agency?.remove();
  await endTracing?.();
  await receiver?.close();
});

const scrape = async (): Promise<Scraped> => new Scraped((await metro.app.get(Metrics).scrape()).text);

test('what is armed, and how far a standby is behind, can be scraped', async () => {
  await metro.protect();
  expect((await scrape()).value('mainstay_armed', { workload_id: workloadId })).toBe(0);
  await metro.until('the metro to be armed', (health) => health.armed === true && health.bytesBehind === 0);
  const labels = { workload_id: workloadId, role: 'metro' };
  const armed = await waitFor(
    'a scrape of it',
    async () => {
      const scraped = await scrape();
      return scraped.value('mainstay_armed') === 1 && scraped.value('mainstay_standby_bytes_behind') === 0 && scraped;
    },
    { timeoutMs: 20_000 },
  );
  expect(armed.value('mainstay_armed_lease_seconds', { workload_id: workloadId })).toBeGreaterThan(0);
  expect(armed.value('mainstay_standby_state', { ...labels, state: 'streaming' })).toBe(1);
  expect(armed.value('mainstay_standby_state', { ...labels, state: 'preparing' })).toBeUndefined();
  expect(armed.value('mainstay_standby_source_silent_seconds', labels)).toBeGreaterThanOrEqual(0);
  expect(armed.value('mainstay_failover_runs_total', { outcome: 'completed' })).toBe(0);
  expect(armed.value('mainstay_queue_jobs', { queue: 'runs', state: 'failed' })).toBe(0);
  expect(armed.value('mainstay_db_pool_connections', { pool: 'site', state: 'in-use' })).toBeGreaterThanOrEqual(0);
  const failures = armed.samples.filter(({ name, value }) => name === 'mainstay_collector_failures_total' && value > 0);
  expect(failures).toEqual([]);
});

test('a failover is one trace from its order to the last step, though the process was another one in between', async () => {
  desk.alive = false;
  await agency.server.kill9();
  // This process takes the order and dies; the next one finds the run, and its trace, in the rows.
  await metro.stopWorking();
  const runId = await withSpan('declaration', { kind: 'server' }, () => metro.failover());
  const open = (await metro.app.get<Collector>(failoverCollector.provide).collect()).find(
    ({ metric }) => metric === runOpen,
  );
  expect(open).toMatchObject({ labels: { workload_id: workloadId, state: 'accepted' }, value: expect.any(Number) });
  await metro.app.close();
  await metro.boot();
  expect((await metro.finished(runId)).state).toBe('completed');
  await waitFor('the run’s span', () => receiver.find('failover run', { 'mainstay.run_id': runId }), {
    timeoutMs: 20_000,
  });
  const declaration = receiver.find('declaration')!;
  for (const step of RUN_STEPS) {
    const span = receiver.find(`failover step ${step}`)!;
    expect(span, step).toBeDefined();
    expect(span.traceId).toBe(declaration.traceId);
    expect(receiver.path(span)).toEqual(['declaration', 'failover run', `failover step ${step}`]);
    expect(span.attributes).toMatchObject({
      'mainstay.run_id': runId,
      'mainstay.workload_id': workloadId,
      'mainstay.tenant_id': tenantId,
      'mainstay.step': step,
      'mainstay.attempt': 1,
    });
  }
});

test('the run’s outcome, its seconds to the first write and its steps can be scraped, also after a restart', async () => {
  await metro.shutdown();
  await metro.boot();
  const scraped = await scrape();
  expect(scraped.value('mainstay_failover_runs_total', { outcome: 'completed' })).toBe(1);
  expect(scraped.value('mainstay_failover_run_open_seconds')).toBeUndefined();
  expect(scraped.value('mainstay_failover_first_write_seconds_count')).toBe(1);
  expect(scraped.value('mainstay_failover_first_write_seconds_bucket', { le: '+Inf' })).toBe(1);
  expect(scraped.value('mainstay_failover_first_write_seconds_sum')).toBeGreaterThan(0);
  expect(scraped.kinds.get('mainstay_failover_step_seconds')).toBe('histogram');
  expect(scraped.value('mainstay_failover_step_seconds_count', { step: 'promote' })).toBe(1);
  // The server is production now: nobody is to be woken because it is not armed.
  expect(scraped.value('mainstay_armed', { workload_id: workloadId })).toBeUndefined();
  expect(scraped.value('mainstay_standby_state', { workload_id: workloadId, state: 'primary' })).toBe(1);
  // Nobody fetches this site's results here.
  expect(scraped.value('mainstay_site_results_untold')).toBeGreaterThan(0);
  expect(scraped.text).not.toContain(agency.workload.name);
});
