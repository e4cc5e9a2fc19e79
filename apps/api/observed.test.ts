import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failoverOrder, runEventResult } from '#contracts/failover';
import { waitFor } from '#libs/platform/clock';
import { Metrics, startTracing } from '#libs/platform/telemetry';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';
import { OtlpReceiver } from '#test/otlp-receiver';
import { Scraped } from '#test/scrape';

const WITHIN = { timeoutMs: 20_000 };

describe('a declaration that somebody traces', () => {
  let plane: ControlPlane;
  let receiver: OtlpReceiver;
  let endTracing: () => Promise<void>;
  let workload: ProtectedWorkload;

  beforeAll(async () => {
    receiver = await OtlpReceiver.start();
    plane = await ControlPlane.start();
    workload = await plane.protectedWorkload();
    endTracing = await startTracing({ process: 'control', endpoint: receiver.endpoint });
  });
  afterAll(async () => {
    await plane?.close();
    await endTracing?.();
    await receiver?.close();
  });

  const declare = (traceparent: string) =>
    plane.api.call('POST', `/v1/workloads/${workload.id}/failovers`, {
      token: workload.agency.apiKey,
      key: randomUUID(),
      body: { reason: 'The town hall is flooded' },
      headers: { traceparent },
    });
  const received = (name: string, attributes: Record<string, unknown> = {}) =>
    waitFor(`the span ${name}`, () => receiver.find(name, attributes), WITHIN);

  it('is one trace from the caller to the site, and back to the notices', async () => {
    const traceId = randomUUID().replaceAll('-', '');
    const caller = `00-${traceId}-00f067aa0ba902b7-01`;
    const { status, body: run } = await declare(caller);
    expect(status).toBe(202);
    const request = 'POST /v1/workloads/:id/failovers';
    const { order } = await plane.metro.ordered(failoverOrder, ({ runId }) => runId === run.id);
    // What is signed says nothing of the trace: a site that knows none takes the order all the same.
    expect(Object.keys(order)).not.toContain('traceparent');
    const handed = await waitFor('the header', () => plane.metro.traceparents.get(order.id), WITHIN);
    const delivery = await received('deliver order failover.run', { 'mainstay.order_id': order.id });
    await received(request);
    expect(handed).toBe(`00-${traceId}-${delivery.spanId}-01`);
    expect(receiver.path(delivery)).toEqual([request, 'deliver order failover.run']);
    const server = receiver.find(request)!;
    expect(server).toMatchObject({ traceId, parentSpanId: '00f067aa0ba902b7' });
    expect(server.attributes).toMatchObject({
      'http.response.status_code': 202,
      'mainstay.tenant_id': workload.agency.id,
    });

    const told = { runId: run.id, workloadId: workload.id, number: 1, at: new Date().toISOString() };
    plane.metro.say(
      runEventResult,
      {
        ...told,
        ...{ state: 'running', step: 'promote', stepState: 'started', attempt: 1, message: 'Begun.', evidence: {} },
      },
      { tenantId: workload.agency.id, orderId: order.id },
    );
    const applied = await received('result failover.event', { 'mainstay.run_id': run.id });
    expect(applied).toMatchObject({ traceId, attributes: { 'mainstay.step': 'promote' } });
    expect(await received('event notifications.notice-raised')).toMatchObject({ traceId });
    const mail = await received('job mail.send');
    expect(mail.traceId).toBe(traceId);
    expect(receiver.path(mail)[0]).toBe(request);
    // Who is told, and what, stays here.
    const { email } = workload.agency;
    expect(JSON.stringify(receiver.spans)).not.toMatch(new RegExp(`${email}|flooded|Bearer`));
  });

  it('begins no trace for what recurs', () => {
    expect(receiver.spans.filter(({ name }) => /sweep|outbox/.test(name))).toEqual([]);
  });
});

describe('the figures of the control plane', () => {
  let plane: ControlPlane;
  let worker: Metrics;
  beforeAll(async () => {
    plane = await ControlPlane.start();
    await plane.stopWorkers();
    worker = (await plane.startWorker()).get(Metrics);
    await worker.open();
    await plane.api.app.get(Metrics).open();
  });
  afterAll(() => plane?.close());

  const scrape = async (metrics: Metrics): Promise<Scraped> => new Scraped((await metrics.scrape()).text);
  const until = (what: string, fits: (scraped: Scraped) => boolean): Promise<Scraped> =>
    waitFor(
      what,
      async () => {
        const scraped = await scrape(worker);
        return fits(scraped) ? scraped : undefined;
      },
      WITHIN,
    );

  it('say what was asked, by route and not by address, and how it was answered', async () => {
    const agency = await plane.api.agency();
    await plane.api.get(`/v1/workloads/${randomUUID()}`, agency.apiKey);
    await plane.api.get(`/made-up/${randomUUID()}`);
    const scraped = await scrape(plane.api.app.get(Metrics));
    const count = (route: string, status: string) =>
      scraped.value('mainstay_http_request_duration_seconds_count', { method: 'GET', route, status });
    expect(count('/v1/workloads/:id', '404')).toBe(1);
    expect(count('(none)', '404')).toBe(1);
    expect(scraped.text).not.toContain('made-up');
    expect(scraped.text).not.toContain(agency.email);
    expect(scraped.value('mainstay_db_pool_limit', { pool: 'tenant' })).toBe(10);
    expect((await plane.api.get('/metrics')).status).toBe(404);
  });

  it('say which orders a site has not got, which mails wait, and that events are delivered', async () => {
    const site_id = plane.metro.id;
    const before = await until(
      'the site to be heard',
      (one) => one.value('mainstay_site_silent_seconds', { site_id }) !== undefined,
    );
    expect(before.value('mainstay_orders_undelivered', { site_id })).toBe(0);
    await plane.metro.cut();
    const agency = await plane.api.agency();
    await plane.enrol(agency);
    const waiting = await until(
      'an order to wait',
      (one) => one.value('mainstay_orders_undelivered', { site_id }) === 1,
    );
    expect(waiting.value('mainstay_orders_undelivered_oldest_seconds', { site_id })).toBeGreaterThan(0);
    expect(waiting.value('mainstay_mails_unsent', { state: 'tried' })).toBeGreaterThan(0);
    await until('events to be delivered', (one) => one.value('mainstay_events_undelivered') === 0);
    await plane.metro.open();
    await until('the order to be there', (one) => one.value('mainstay_orders_undelivered', { site_id }) === 0);
  });

  it('say how jobs end, and what waits in the queues', async () => {
    // Nobody takes mails here, so each try fails.
    const failed = await until(
      'a mail to fail',
      (one) =>
        (one.value('mainstay_job_duration_seconds_count', { job_name: 'mail.send', outcome: 'failed' }) ?? 0) > 0,
    );
    expect(failed.value('mainstay_queue_oldest_waiting_seconds', { queue: 'mail' })).toBeGreaterThanOrEqual(0);
    expect(failed.value('mainstay_queue_jobs', { queue: 'mail', state: 'delayed' })).toBeGreaterThan(0);
    const broken = failed.samples.filter(
      ({ name, value }) => name === 'mainstay_collector_failures_total' && value > 0,
    );
    expect(broken).toEqual([]);
  });
});
