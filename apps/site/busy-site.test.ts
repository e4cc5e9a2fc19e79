import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { agents, SiteUnderTest } from './testing/site-under-test.js';

const SOON = { timeoutMs: 30_000 };

describe('a site with orders of one agency that wait for agents who never answer', () => {
  let site: SiteUnderTest;
  let answer: () => void;

  beforeAll(async () => {
    site = await SiteUnderTest.start();
  });
  afterAll(() => site?.close());
  beforeEach(() => {
    const { promise, resolve } = Promise.withResolvers<void>();
    answer = resolve;
    Object.assign(agents, { answer: promise, asked: 0, most: 0, total: 0 });
  });

  const ask = (tenantId: string) => site.order('ask.agent', { preflightId: randomUUID() }, { tenantId });

  it('carries out what steers failovers, and the orders of others, and comes to all in the end', async () => {
    const loud = randomUUID();
    for (let count = 0; count < 80; count += 1) await site.ask('POST', '/v1/orders', ask(loud));
    await waitFor('the agents to be asked', () => agents.asked > 0, SOON);
    const steer = site.order('steer.now', { workloadId: randomUUID() }, { tenantId: loud });
    const other = site.order('test.note', { workloadId: randomUUID(), text: 'other' });
    await site.ask('POST', '/v1/orders', steer);
    await site.ask('POST', '/v1/orders', other);
    await waitFor('the steering', async () => (await site.notes(steer.id)).includes('steered'), SOON);
    await waitFor('the other agency', async () => (await site.notes(other.id)).includes('other'), SOON);
    expect(agents.most).toBe(4);
    answer();
    await waitFor('all of them', () => agents.total === 80, SOON);
    expect(agents.most).toBe(4);
  });

  it('comes to the orders of others in a sweep, however many of one are due before them', async () => {
    const loud = randomUUID();
    const before = await site.outboxEnd();
    await site.work.run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, work_key)
         SELECT gen_random_uuid(), $1 + n, 'ask.agent', $2,
                jsonb_build_object('preflightId', gen_random_uuid()), now(), 'ask/0' || n FROM generate_series(1, 300) n`,
        [site.nextNumber() + 10_000, loud],
      ),
    );
    await site.work.run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, work_key)
         VALUES (gen_random_uuid(), $1, 'test.note', $2, $3, now(), 'test/z')`,
        [site.nextNumber() + 20_000, site.tenantId, JSON.stringify({ workloadId: randomUUID(), text: 'late' })],
      ),
    );
    await waitFor(
      'the last of them',
      async () => (await site.outbox(before)).results.some(({ payload }) => payload['text'] === 'late'),
      SOON,
    );
    answer();
    await waitFor('all of them', () => agents.total === 300, { timeoutMs: 60_000 });
  });

  it('gives up an order that nobody waits for any more, and says so', async () => {
    const after = await site.outboxEnd();
    const orderId = randomUUID();
    await site.work.run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, received_at, work_key)
         VALUES ($1, $2, 'ask.agent', $3, $4, now(), now() - interval '5 minutes', 'ask/old')`,
        [orderId, site.nextNumber() + 30_000, site.tenantId, JSON.stringify({ preflightId: randomUUID() })],
      ),
    );
    const told = await waitFor(
      'its end',
      async () => (await site.outbox(after)).results.find((result) => result.orderId === orderId),
      SOON,
    );
    expect(told).toMatchObject({ kind: 'order.failed', payload: { kind: 'ask.agent', code: 'order.given-up' } });
  });
});
