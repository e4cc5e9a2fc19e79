import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SiteTransaction } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site';
import { capacity, noted, SiteUnderTest } from './testing/site-under-test.js';

describe('the site’s outbox', () => {
  let site: SiteUnderTest;
  beforeAll(async () => {
    site = await SiteUnderTest.start();
  });
  afterAll(() => site?.close());

  it('numbers results as they become visible, so that a cursor passes none', async () => {
    const after = await site.outboxEnd();
    const emit = (text: string, tx: SiteTransaction): Promise<void> =>
      site.get(SiteOutbox).emit(tx, noted, { tenantId: site.tenantId }, { text });
    const slowMayEnd = Promise.withResolvers<void>();
    const slowHasWritten = Promise.withResolvers<void>();
    const slow = site.work.run(async (tx) => {
      await emit('slow', tx);
      slowHasWritten.resolve();
      await slowMayEnd.promise;
    });
    await slowHasWritten.promise;
    const waiting = site.outbox(after, 30);
    await site.work.run((tx) => emit('fast', tx));
    const first = await waiting;
    expect(first.results.map(({ payload }) => payload)).toEqual([{ text: 'fast' }]);
    slowMayEnd.resolve();
    await slow;
    const second = await site.outbox(first.results[0]!.seq, 30);
    expect(second.results.map(({ payload }) => payload)).toEqual([{ text: 'slow' }]);
    // Until it is acknowledged, the same look gives the same results.
    expect((await site.outbox(after)).results.map(({ payload }) => payload)).toEqual([
      { text: 'fast' },
      { text: 'slow' },
    ]);
    expect(first.snapshot).toMatchObject({ siteId: site.siteId, capacity, agents: [], workloads: [] });
  });

  it('goes on above a cursor that knew a database which was lost', async () => {
    const lost = (await site.outboxEnd()) + 1_000;
    expect((await site.outbox(lost)).results).toEqual([]);
    await site.work.run((tx) => site.get(SiteOutbox).emit(tx, noted, { tenantId: site.tenantId }, { text: 'after' }));
    expect((await site.outbox(lost)).results.map(({ seq }) => seq)).toEqual([lost + 1]);
  });

  it('takes no result that is too long for a page, and none of the characters that a database refuses', async () => {
    const emit = (text: string) =>
      site.work.run((tx) => site.get(SiteOutbox).emit(tx, noted, { tenantId: site.tenantId }, { text }));
    await expect(emit('x'.repeat(1_100_000))).rejects.toMatchObject({ code: 'result.too-large' });
    const after = await site.outboxEnd();
    await emit('NUL \0 and half a pair \ud800');
    expect((await site.outbox(after)).results.map(({ payload }) => payload['text'])).toEqual([
      'NUL \uFFFD and half a pair \uFFFD',
    ]);
  });

  it('tells much in pages that the control plane takes, in their order', async () => {
    const after = await site.outboxEnd();
    const texts = Array.from({ length: 40 }, (_, index) => `${index} ${'x'.repeat(900_000)}`);
    for (const text of texts) {
      await site.work.run((tx) => site.get(SiteOutbox).emit(tx, noted, { tenantId: site.tenantId }, { text }));
    }
    const heard: number[] = [];
    for (let cursor = after; heard.length < texts.length;) {
      const { results } = await site.outbox(cursor);
      expect(Buffer.byteLength(JSON.stringify(results))).toBeLessThan(9_000_000);
      for (const { seq, payload } of results) {
        heard.push(Number.parseInt(String(payload['text']), 10));
        cursor = seq;
      }
    }
    expect(heard).toEqual(texts.map((_, index) => index));
  });
});
