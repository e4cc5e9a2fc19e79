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
});
