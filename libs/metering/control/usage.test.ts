import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SystemClock } from '#libs/platform/clock';
import { UnitOfWork } from '#libs/platform/database';
import { TestApi } from '#test/api';
import { UsageTimeError } from './metering.errors.js';
import { Usage, type UsageFact } from './usage.service.js';

describe('the ledger of usage', () => {
  let api: TestApi;
  let work: UnitOfWork;
  const usage = new Usage(new SystemClock());
  beforeAll(async () => {
    api = await TestApi.start();
    work = api.app.get(UnitOfWork);
  });
  afterAll(() => api.close());

  const at = (hour: number): Date => new Date(Date.UTC(2026, 0, 10, hour));
  const stored = (tenantId: string, subjectId: string, amount: number, from: number, to: number): UsageFact => ({
    id: randomUUID(),
    tenantId,
    kind: 'archive.stored-bytes',
    subjectId,
    siteId: null,
    amount,
    from: at(from),
    to: at(to),
  });
  const record = (fact: UsageFact) => work.provider((tx) => usage.record(tx, fact));
  const total = (tenantId: string, kind: string, from: Date, to: Date) =>
    work.tenant(tenantId, (tx) => usage.total(tx, { tenantId, kind, from, to }));

  it('counts a fact once, by its id, and intervals by the time that they were held', async () => {
    const { id: agency } = await api.agency();
    const subject = randomUUID();
    const first = stored(agency, subject, 100, 1, 3);
    for (const fact of [first, first, stored(agency, subject, 300, 3, 4)]) await record(fact);
    const { amountSeconds } = await total(agency, first.kind, at(0), at(24));
    expect(amountSeconds).toBe((100 * 2 + 300) * 3_600);
    // Clipped to what is asked for.
    expect((await total(agency, first.kind, at(2), at(3))).amountSeconds).toBe(100 * 3_600);
    const moment = { ...first, id: randomUUID(), kind: 'archive.ingested-bytes', amount: 7, to: first.from };
    await record(moment);
    await record({ ...moment, id: randomUUID(), amount: 5 });
    expect(await total(agency, moment.kind, at(0), at(24))).toEqual({ sum: 12, amountSeconds: 0 });
    expect(await total(agency, moment.kind, at(2), at(24))).toEqual({ sum: 0, amountSeconds: 0 });
  });

  it('counts no second twice, however intervals overlap, also told at once', async () => {
    const { id: agency } = await api.agency();
    const subject = randomUUID();
    const facts = [
      stored(agency, subject, 10, 1, 3),
      stored(agency, subject, 10, 2, 4),
      stored(agency, subject, 10, 1, 2),
    ];
    for (const fact of facts) await record(fact);
    await Promise.all(Array.from({ length: 5 }, () => record(stored(agency, subject, 10, 1, 6))));
    expect((await total(agency, facts[0]!.kind, at(0), at(24))).amountSeconds).toBe(10 * 5 * 3_600);
  });

  it('takes nothing from the future, and nobody alters a fact', async () => {
    const { id: agency } = await api.agency();
    const wrong = { ...stored(agency, randomUUID(), 1, 1, 2), to: new Date(Date.now() + 3_600_000) };
    await expect(record(wrong)).rejects.toThrow(UsageTimeError);
    await expect(record(stored(agency, randomUUID(), 1, 3, 2))).rejects.toThrow(UsageTimeError);
    await record(stored(agency, randomUUID(), 1, 1, 2));
    await expect(api.rows(`UPDATE usage_fact SET amount = 0`)).rejects.toThrow('never altered');
    await expect(api.rows(`DELETE FROM usage_fact`)).rejects.toThrow('never altered');
  });
});
