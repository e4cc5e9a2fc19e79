import { Writable } from 'node:stream';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { DomainError } from '#libs/platform/errors';
import { OtlpReceiver } from '#test/otlp-receiver';
import { Scraped } from '#test/scrape';
import {
  addToLogContext,
  continueTrace,
  createLogger,
  currentTraceparent,
  defineCounter,
  defineGauge,
  defineHistogram,
  InternalEndpoint,
  Metrics,
  ProcessHealth,
  type Sample,
  startTracing,
  withLogContext,
  withSpan,
} from './index.js';

const log = createLogger({ name: 'telemetry test', level: 'silent' });
const knocks = defineCounter('mainstay_test_knocks_total', 'Knocks.', ['door']);
const waits = defineHistogram('mainstay_test_wait_seconds', 'Waits.', ['door'], [1, 5]);
const depth = defineGauge('mainstay_test_depth', 'A depth.', ['well']);
const spread = defineHistogram('mainstay_test_spread_seconds', 'A spread.', [], [1, 5]);
const broken = defineGauge('mainstay_test_broken', 'Never read.');

let receiver: OtlpReceiver;
beforeEach(async () => {
  receiver = await OtlpReceiver.start();
});
afterEach(() => receiver.close());

test('spans go to the receiver in one trace, through a row, and say of an error no more than its code', async () => {
  class Refused extends DomainError {
    constructor() {
      super('conflict', 'test.refused', 'it@elm.example has been refused.');
    }
  }
  const end = await startTracing({ process: 'site Olympia metro', endpoint: receiver.endpoint });
  const caller = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const row = await withSpan('first', { parent: caller, attributes: { a: 1, left: undefined } }, () =>
    withSpan('second', {}, async () => currentTraceparent()),
  );
  await continueTrace(row, 'third', {}, () => Promise.reject(new Refused())).catch(() => undefined);
  await withSpan('alone', { parent: 'nonsense' }, () => undefined);
  await continueTrace(null, 'nothing', {}, () => Promise.resolve());
  await end();
  expect(currentTraceparent()).toBeNull();
  const third = receiver.find('third')!;
  expect(receiver.path(third)).toEqual(['first', 'second', 'third']);
  expect(third).toMatchObject({ service: 'mainstay-site', traceId: caller.slice(3, 35), failed: true });
  expect(third.attributes).toEqual({ 'error.type': 'Refused', 'mainstay.error_code': 'test.refused' });
  expect(receiver.find('first')).toMatchObject({ parentSpanId: caller.slice(36, 52), attributes: { a: 1 } });
  expect(receiver.find('alone')).toMatchObject({ parentSpanId: undefined });
  expect(receiver.find('nothing')).toBeUndefined();
  // What its caller does not sample is wanted here all the same.
  const again = await startTracing({ process: 'api', endpoint: receiver.endpoint });
  const passed = await withSpan('unsampled', { parent: `${caller.slice(0, -1)}0` }, () => currentTraceparent());
  await again();
  expect(passed).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
  expect(receiver.find('unsampled')).toMatchObject({ parentSpanId: caller.slice(36, 52) });
});

test('a receiver that is away costs neither the work nor the stop', async () => {
  const { endpoint } = receiver;
  await receiver.close();
  const end = await startTracing({ process: 'api', endpoint });
  expect(await withSpan('lost', {}, () => 7)).toBe(7);
  await end();
  receiver = await OtlpReceiver.start();
});

test('log lines carry the ids in force and those of the span, and no secret', async () => {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  const logger = createLogger({ name: 'api', destination: sink as unknown as pino.DestinationStream });
  const end = await startTracing({ process: 'api', endpoint: receiver.endpoint });
  const ids = { tenantId: 'tenant', runId: 'run', jobId: 'job' };
  let traceparent: string | null = null;
  await withLogContext({ requestId: 'request' }, () =>
    withSpan('work', {}, async () => {
      traceparent = currentTraceparent();
      addToLogContext(ids);
      logger.info({ password: 'hunter2' }, 'inside');
    }),
  );
  logger.info('outside');
  await end();
  const [, traceId, spanId] = traceparent!.split('-');
  expect(lines[0]).toMatchObject({ ...ids, requestId: 'request', traceId, spanId, password: '[secret]' });
  for (const id of ['requestId', 'tenantId', 'runId', 'jobId', 'traceId']) expect(lines[1]).not.toHaveProperty(id);
});

test('a scrape has what was counted and what is read; a collector that fails costs only its own values', async () => {
  const metrics = new Metrics(log);
  const health = new ProcessHealth();
  metrics.counts(knocks, waits);
  metrics.increment(knocks, { door: 'before anybody can scrape' });
  metrics.register({
    name: 'wells',
    metrics: [depth, spread],
    collect: () =>
      Promise.resolve<Sample[]>([
        { metric: depth, labels: { well: 'a "deep" one' }, value: 12 },
        { metric: spread, labels: {}, distribution: { atOrBelow: [2, 3], sum: 9, count: 4 } },
      ]),
  });
  let broke = true;
  metrics.register({
    name: 'broken',
    metrics: [broken],
    collect: () =>
      broke ? Promise.reject(new Error('no database')) : Promise.resolve([{ metric: broken, labels: {}, value: 1 }]),
  });
  let databaseAnswers = false;
  health.needs('database', () => (databaseAnswers ? Promise.resolve() : Promise.reject(new Error('refused'))));
  const endpoint = new InternalEndpoint({ host: '127.0.0.1', port: 0 }, metrics, health, log);
  await endpoint.open();
  const port = endpoint.port!;
  metrics.increment(knocks, { door: 'front' });
  metrics.increment(knocks, { door: 'front' }, 2);
  metrics.observe(waits, { door: 'front' }, 3);
  const first = await Scraped.of(port);
  expect(first.value('mainstay_test_knocks_total', { door: 'front' })).toBe(3);
  expect(first.value('mainstay_test_wait_seconds_bucket', { door: 'front', le: '1' })).toBe(0);
  expect(first.value('mainstay_test_wait_seconds_bucket', { door: 'front', le: '5' })).toBe(1);
  expect(first.value('mainstay_test_depth')).toBe(12);
  expect(first.kinds.get('mainstay_test_spread_seconds')).toBe('histogram');
  expect(first.value('mainstay_test_spread_seconds_bucket', { le: '5' })).toBe(3);
  expect(first.value('mainstay_test_spread_seconds_bucket', { le: '+Inf' })).toBe(4);
  expect(first.value('mainstay_test_broken')).toBeUndefined();
  expect(first.value('mainstay_collector_failures_total', { collector: 'broken' })).toBe(1);
  expect(first.value('mainstay_collector_failures_total', { collector: 'wells' })).toBe(0);
  expect(first.value('process_resident_memory_bytes')).toBeGreaterThan(0);
  broke = false;
  expect((await Scraped.of(port)).value('mainstay_test_broken')).toBe(1);

  const ask = async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return { status: response.status, body: await response.text() };
  };
  expect((await ask('/health/live')).status).toBe(200);
  expect((await ask('/health/ready')).status).toBe(503);
  health.begins();
  const notReady = await ask('/health/ready');
  expect(JSON.parse(notReady.body)).toEqual({ status: 'not-ready', obstacles: { database: 'refused' } });
  databaseAnswers = true;
  expect((await ask('/health/ready')).status).toBe(200);
  health.ends();
  expect((await ask('/health/ready')).status).toBe(503);
  expect((await ask('/else')).status).toBe(404);
  expect((await ask('/metrics', 'POST')).status).toBe(405);

  // A port that is taken is tried again, and the process goes on meanwhile.
  const second = new InternalEndpoint({ host: '127.0.0.1', port }, metrics, health, log);
  await second.open();
  expect(second.port).toBeUndefined();
  await endpoint.close();
  await waitFor('the port to be taken over', () => second.port === port, { timeoutMs: 20_000 });
  await second.close();
});
