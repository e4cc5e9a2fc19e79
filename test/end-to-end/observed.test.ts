import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, onTestFailed, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { OtlpReceiver } from '../support/otlp-receiver.js';
import { Scraped } from '../support/scrape.js';
import { StackWorld } from '../support/stack-world.js';

const MINUTES = 60_000;
const said: string[] = [];
let world: StackWorld;
let receiver: OtlpReceiver;
let failed = false;

beforeAll(async () => {
  receiver = await OtlpReceiver.start();
  world = await StackWorld.start((line) => said.push(line), { otlpEndpoint: receiver.endpoint });
});
afterAll(async () => {
  await world?.close(failed);
  await receiver?.close();
});

interface Target {
  readonly targets: [string];
  readonly labels: { readonly job: string; readonly site?: string };
}

test(
  'a failover is one trace through api, site and worker, and every process can be scraped',
  { timeout: 5 * MINUTES },
  async () => {
    onTestFailed(() => {
      failed = true;
      console.error(said.slice(-30).join('\n'));
    });
    const agency = await world.agency('observed');
    const targets = JSON.parse(await readFile(world.stack.metricsFile, 'utf8')) as Target[];
    const scrape = (job: string, site?: string): Promise<Scraped> => {
      const found = targets.find(({ labels }) => labels.job === `mainstay-${job}` && labels.site === site);
      return Scraped.of(Number(found?.targets[0].split(':')[1]));
    };
    expect(targets).toHaveLength(6);
    const workload_id = agency.workloadId;
    expect((await scrape('site', 'metro')).value('mainstay_armed', { workload_id })).toBe(1);
    for (const site of ['metro', 'regional']) {
      const link = await scrape('link', site);
      expect(link.value('mainstay_tunnel_links', { lane: 'sync' })).toBe(1);
      expect(link.value('mainstay_tunnel_agents_missing', { lane: 'bulk' })).toBe(0);
    }
    expect((await scrape('worker')).value('mainstay_results_unapplied')).toBe(0);

    await agency.machine.destroy();
    const { id } = await agency.client.declare(workload_id, { reason: 'flood' });
    expect((await agency.client.finished(id, MINUTES)).state).toBe('completed');

    const promotion = await waitFor(
      'the promotion’s span',
      () => receiver.find('failover step promote', { 'mainstay.run_id': id }),
      { timeoutMs: MINUTES },
    );
    const finished = await waitFor(
      'the span of the worker that learnt of the end',
      () => receiver.find('result failover.finished', { 'mainstay.run_id': id }),
      { timeoutMs: MINUTES },
    );
    await waitFor('the run’s span', () => receiver.find('failover run', { 'mainstay.run_id': id }), {
      timeoutMs: MINUTES,
    });
    const declaration = receiver.find('POST /v1/workloads/:id/failovers')!;
    expect([declaration.service, promotion.service, finished.service]).toEqual([
      'mainstay-api',
      'mainstay-site',
      'mainstay-worker',
    ]);
    expect(receiver.path(promotion)).toEqual([
      'POST /v1/workloads/:id/failovers',
      'deliver order failover.run',
      'receive order',
      'failover run',
      'failover step promote',
    ]);
    expect(finished.traceId).toBe(declaration.traceId);

    const logged = async (process: string, ids: Record<string, unknown>): Promise<boolean> => {
      const text = await readFile(world.stack.installation.file('logs', `${process}.log`), 'utf8');
      const lines = text.split('\n').filter((line) => line.startsWith('{'));
      return lines
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .some((line) => Object.entries(ids).every(([key, value]) => line[key] === value));
    };
    const { traceId } = declaration;
    const tenantId = declaration.attributes['mainstay.tenant_id'];
    expect(await logged('api', { traceId, tenantId, status: 202, route: '/v1/workloads/:id/failovers' })).toBe(true);
    const ids = { traceId, tenantId, runId: id, workloadId: workload_id };
    expect(await logged('site-metro', { ...ids, spanId: promotion.spanId, step: 'promote' })).toBe(true);

    const metro = await scrape('site', 'metro');
    expect(metro.value('mainstay_failover_runs_total', { outcome: 'completed' })).toBe(1);
    expect(metro.value('mainstay_failover_first_write_seconds_count')).toBe(1);
    expect(metro.value('mainstay_failover_step_seconds_count', { step: 'promote' })).toBe(1);
    const missing = async () =>
      (await scrape('link', 'metro')).value('mainstay_tunnel_agents_missing', { lane: 'sync' });
    await waitFor('the agent to be missed', async () => (await missing()) === 1, { timeoutMs: MINUTES });
    const api = await scrape('api');
    const route = '/v1/workloads/:id/failovers';
    expect(api.value('mainstay_http_request_duration_seconds_count', { method: 'POST', route, status: '202' })).toBe(1);
    // Whoever scrapes is not signed in: no name, no address and no reason is to be read here.
    for (const { labels } of targets) {
      const { text } = await scrape(labels.job.replace('mainstay-', ''), labels.site);
      expect(text).not.toMatch(/Township|@|flood/);
      expect(text).toMatch(/^mainstay_/m);
    }
    expect(JSON.stringify(receiver.spans)).not.toMatch(/Township|@observed|flood/);
  },
);
