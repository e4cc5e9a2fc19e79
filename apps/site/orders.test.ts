import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, createKeyPair, issueCertificate, signDocument } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { loadSiteEnvironment } from './site-environment.js';
import { SiteUnderTest, stuck } from './testing/site-under-test.js';

describe('orders at the site’s door', () => {
  let site: SiteUnderTest;
  beforeAll(async () => {
    site = await SiteUnderTest.start();
  });
  afterAll(() => site?.close());

  it('202: carries out an order once, however often and at once it is delivered', async () => {
    const after = await site.outboxEnd();
    const one = site.order('test.note', { workloadId: randomUUID(), text: 'once' });
    const answers = await Promise.all(Array.from({ length: 8 }, () => site.ask('POST', '/v1/orders', one)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(202));
    const page = await waitFor('the result', async () => (await site.outbox(after, 5)).results[0], {
      timeoutMs: 20_000,
    });
    expect(page).toMatchObject({
      kind: 'test.noted',
      orderId: one.id,
      tenantId: site.tenantId,
      payload: { text: 'once' },
    });
    expect((await site.ask('POST', '/v1/orders', one)).status).toBe(202);
    expect(await site.notes(one.id)).toEqual(['received', 'once']);
  });

  it('403: refuses an order that is altered, unsigned by its control plane, or for another site', async () => {
    const payload = { workloadId: randomUUID(), text: 'true' };
    const stranger = createKeyPair();
    const altered = { ...site.order('test.note', payload), payload: { ...payload, text: 'false' } };
    const foreign = site.order('test.note', payload);
    const resigned = {
      ...foreign,
      signature: signDocument({ ...foreign, signature: undefined }, stranger.privateKey),
    };
    const elsewhere = site.order('test.note', payload, { siteId: randomUUID() });
    const garbled = { ...site.order('test.note', payload), signature: 'AAAA' };
    for (const bad of [altered, resigned, garbled]) {
      const answer = await site.ask('POST', '/v1/orders', bad);
      expect(answer).toMatchObject({ status: 403, body: { code: 'order.signature-invalid' } });
      expect(await site.notes(bad.id)).toEqual([]);
    }
    expect(await site.ask('POST', '/v1/orders', elsewhere)).toMatchObject({
      status: 403,
      body: { code: 'order.other-site' },
    });
    const stored = await site.work.run((tx) =>
      tx.query(`SELECT FROM site_order WHERE id = ANY($1)`, [[altered.id, foreign.id, elsewhere.id, garbled.id]]),
    );
    expect(stored).toHaveLength(0);
  });

  it('409: refuses another order with a known id or number', async () => {
    const payload = { workloadId: randomUUID(), text: 'first' };
    const first = site.order('test.note', payload);
    expect((await site.ask('POST', '/v1/orders', first)).status).toBe(202);
    const sameId = site.order('test.note', { ...payload, text: 'second' }, { id: first.id });
    const sameNumber = site.order('test.note', payload, { number: first.number });
    for (const bad of [sameId, sameNumber]) {
      expect(await site.ask('POST', '/v1/orders', bad)).toMatchObject({
        status: 409,
        body: { code: 'order.conflict' },
      });
    }
  });

  it('422: refuses a kind that nobody carries out, and a payload that does not fit', async () => {
    expect(await site.ask('POST', '/v1/orders', site.order('test.unknown', {}))).toMatchObject({
      status: 422,
      body: { code: 'order.kind-unknown' },
    });
    expect(await site.ask('POST', '/v1/orders', site.order('test.note', { text: 1 }))).toMatchObject({
      status: 422,
      body: { code: 'order.payload-malformed' },
    });
  });

  it('lets nobody in without a client certificate of its authority', async () => {
    const other = await createAuthority('another authority');
    const impostor = await issueCertificate(other, { commonName: 'control', usages: ['client'] });
    const server = await issueCertificate(site.authority, { commonName: 'another site', usages: ['server'] });
    const colleague = await issueCertificate(site.authority, { commonName: 'metrics', usages: ['client'] });
    for (const identity of [null, impostor, server, colleague]) {
      await expect(site.ask('GET', '/health', undefined, identity)).rejects.toThrow();
    }
    expect(await site.ask('GET', '/health')).toMatchObject({ status: 200, body: { ok: true } });
  });

  it('tells of an order that can never be carried out, and goes on with the next of the workload', async () => {
    const after = await site.outboxEnd();
    const workloadId = randomUUID();
    const never = site.order('test.refuse', { workloadId });
    const next = site.order('test.note', { workloadId, text: 'next' });
    await site.ask('POST', '/v1/orders', never);
    await site.ask('POST', '/v1/orders', next);
    const results = await waitFor(
      'both results',
      async () => {
        const page = await site.outbox(after);
        return page.results.length >= 2 ? page.results : undefined;
      },
      { timeoutMs: 20_000 },
    );
    expect(results.map(({ kind, orderId }) => [kind, orderId])).toEqual([
      ['order.failed', never.id],
      ['test.noted', next.id],
    ]);
    expect(results[0]?.payload).toMatchObject({ kind: 'test.refuse', code: 'test.never' });
  });

  it('tries again what failed in passing', async () => {
    const stumble = site.order('other.stumble', { workloadId: randomUUID() });
    await site.ask('POST', '/v1/orders', stumble);
    await waitFor('the second try', async () => (await site.notes(stumble.id)).includes('stumbled'), {
      timeoutMs: 20_000,
    });
  });

  it('keeps the sequence of one workload and domain, and lets nothing else wait for it', async () => {
    const release = Promise.withResolvers<void>();
    stuck.until = release.promise;
    const [one, two] = [randomUUID(), randomUUID()];
    const behind = site.order('test.note', { workloadId: one, text: 'behind' }, { number: site.nextNumber() + 100 });
    const before = site.order('test.stuck', { workloadId: one });
    const beside = site.order('test.note', { workloadId: two, text: 'beside' });
    const elsewhere = site.order('other.stumble', { workloadId: one });
    for (const order of [before, behind, beside, elsewhere]) await site.ask('POST', '/v1/orders', order);
    await waitFor(
      'the others',
      async () => (await site.notes(beside.id)).length === 2 && (await site.notes(elsewhere.id)).length === 1,
      { timeoutMs: 20_000 },
    );
    expect(await site.notes(behind.id)).toEqual(['received']);
    release.resolve();
    await waitFor('its turn', async () => (await site.notes(behind.id)).length === 2, { timeoutMs: 20_000 });
  });

  it('carries out after a restart what was stored before it', async () => {
    await site.stop();
    const orderId = randomUUID();
    const workloadId = randomUUID();
    await site.start();
    await site.work.run((tx) =>
      tx.execute(
        `INSERT INTO site_order (id, number, kind, tenant_id, payload, issued_at, work_key, claimed_by, claimed_until)
         VALUES ($1, $2, 'test.note', $3, $4, now(), 'test/x', $5, now() - interval '1 second')`,
        [orderId, site.nextNumber(), site.tenantId, JSON.stringify({ workloadId, text: 'found' }), randomUUID()],
      ),
    );
    await waitFor('the sweep', async () => (await site.notes(orderId)).includes('found'), { timeoutMs: 30_000 });
  });

  it('names each setting that is missing', () => {
    expect(() => loadSiteEnvironment({ SITE_ID: 'x' })).toThrow(/SITE_ID.*[\s\S]*SITE_TLS_CERT_FILE/);
  });
});
