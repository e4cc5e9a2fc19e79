import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LEASE_SECONDS, type ProtectionMode } from '#contracts/replication';
import type { SiteUnitOfWork } from '#libs/platform/database';
import { ArmedLeases } from './armed-leases.js';
import { SourceReports } from '../source-reports.js';
import { LeaseClock } from './lease-clock.js';
import { PulseAnswers } from './pulse-answers.js';
import { GRANT_SECONDS } from './pulse-requests.js';
import { PulsedSite } from './testing/pulsed-site.js';

describe('the armed lease', () => {
  const site = new PulsedSite(LeaseClock);
  const { sql, state, pulse, answer, results } = site;
  let work: SiteUnitOfWork;
  let leases: ArmedLeases;
  let workloadId: string;

  beforeAll(async () => {
    await site.open();
    work = site.work;
    leases = site.get(ArmedLeases);
  });
  afterAll(() => site.close());

  beforeEach(async () => {
    workloadId = await site.begin();
    await protect('strict');
  });

  const protect = (mode: ProtectionMode) => site.protect('metro', mode);
  const notArmed = { armed: false, armedSince: null, notArmedBecause: 'the metro site does not stream' };

  const arming = async (): Promise<unknown[]> =>
    (await results('replication.arming-changed')).map(({ armed }) => armed);

  it('runs from the moment before the pulse was sent, and only while the agent says armed', async () => {
    expect(await state()).toMatchObject({ armed: false, everArmed: false });
    await answer(await pulse(), notArmed);
    expect(await state()).toMatchObject({ armed: false, everArmed: false, endedBecause: null });
    await answer(await pulse());
    const armed = await state();
    expect(armed).toMatchObject({ armed: true, everArmed: true, endedBecause: null });
    expect(armed.secondsLeft).toBeLessThanOrEqual(LEASE_SECONDS);
    await answer(await pulse(), notArmed);
    expect((await state()).armedUntil).toEqual(armed.armedUntil);
    expect(await arming()).toEqual([true]);
  });

  it('is not lengthened by an answer that comes late', async () => {
    await answer(await pulse());
    const before = await state();
    const prepared = await pulse();
    const late = new Date(Date.now() - 8_000).toISOString();
    await answer({ ...prepared, preparedAt: late });
    expect((await state()).armedUntil).toEqual(before.armedUntil);
    const after = await sql(`UPDATE armed_lease SET armed_until = NULL WHERE workload_id = $1`, [workloadId]);
    expect(after).toBe(1);
    await answer({ ...prepared, preparedAt: late });
    expect((await state()).secondsLeft).toBeLessThanOrEqual(2.1);
    await sql(`UPDATE armed_lease SET armed_until = NULL WHERE workload_id = $1`, [workloadId]);
    await answer({ ...prepared, preparedAt: new Date(Date.now() - 11_000).toISOString() });
    expect((await state()).armed).toBe(false);
  });

  it('is told of once when it runs out, with the reason', async () => {
    await answer(await pulse());
    await sql(`UPDATE armed_lease SET armed_until = clock_timestamp() WHERE workload_id = $1`, [workloadId]);
    await site.get(PulseAnswers).tellEndedLeases();
    await site.get(PulseAnswers).tellEndedLeases();
    expect(await state()).toMatchObject({ armed: false, endedBecause: 'ran-out', everArmed: true });
    expect(await arming()).toEqual([true, false]);
    await answer(await pulse(), notArmed);
    expect(await state()).toMatchObject({ endedBecause: 'answered-not-armed' });
    await answer(await pulse(), { ...notArmed, reachable: false, lsn: null });
    const [report] = await work.run((tx) =>
      tx.query<{ lsn: string }>(`SELECT lsn::text AS lsn FROM source_report WHERE workload_id = $1`, [workloadId]),
    );
    expect(report?.lsn).toBe('0/5000060');
  });

  it('is never extended once a run refuses leases, whatever was under way', async () => {
    await answer(await pulse());
    const underWay = await pulse();
    const refused = await leases.refuse(workloadId);
    expect(refused).toMatchObject({ refused: true, armed: true });
    await answer(underWay);
    expect((await state()).armedUntil).toEqual(refused.armedUntil);
    expect((await pulse()).request.workloads[0]).toMatchObject({ refuseLease: true, disarmed: null });
    // Held for the other site's promotion, of whose end this one may not have heard.
    const confirms = async () => (await pulse()).request.workloads[0]?.confirms;
    expect(await confirms()).toBeUndefined();
    await sql(`UPDATE standby SET hold = 'epoch 2', hold_until = clock_timestamp() WHERE workload_id = $1`, [
      workloadId,
    ]);
    expect(await confirms()).toBe(false);
    await leases.allow(workloadId);
    await answer(await pulse());
    expect((await state()).armedUntil?.getTime()).toBeGreaterThan(refused.armedUntil?.getTime() ?? 0);
  });

  it('records disarming before the agent hears of it, and believes nothing that was asked before', async () => {
    await protect('available');
    await answer(await pulse());
    const underWay = await pulse();
    const requestId = randomUUID();
    const ask = { requestId, lsn: '0/6000000', reason: 'the metro site has stopped acknowledging' };
    await answer(await pulse(), { ...notArmed, disarmRequest: ask });
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000', endedBecause: 'disarmed' });
    await answer(underWay);
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000' });
    // The pulse that lets the receiver live has its end written down before it is sent.
    const granting = await pulse();
    expect(granting.request.workloads[0]?.disarmed).toEqual({ requestId, leaseSeconds: GRANT_SECONDS });
    expect((await state()).degradeSecondsLeft).toBeGreaterThan(GRANT_SECONDS);
    await answer(granting, {
      ...notArmed,
      disarmRequest: ask,
      degraded: { since: new Date().toISOString(), secondsLeft: 29 },
    });
    expect(await arming()).toEqual([true, false]);
    // Armed again by itself: what was granted is used up with the answer, and the next lease needs a pulse without it.
    await answer(await pulse());
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000' });
    const without = await pulse();
    expect(without.request.workloads[0]?.disarmed).toBeNull();
    await answer(without);
    expect(await state()).toMatchObject({ armed: true, disarmedAtLsn: null, degradeSecondsLeft: 0 });
    expect(await arming()).toEqual([true, false, true]);
  });

  it('grants a strict agency nothing on its own request, and nothing to anybody while a run refuses', async () => {
    const ask = { requestId: randomUUID(), lsn: '0/6000000', reason: 'stalled' };
    await answer(await pulse(), { ...notArmed, disarmRequest: ask });
    expect((await pulse()).request.workloads[0]?.disarmed).toBeNull();
    await protect('available');
    await leases.refuse(workloadId);
    await answer(await pulse(), { ...notArmed, disarmRequest: ask });
    expect((await pulse()).request.workloads[0]?.disarmed).toBeNull();
    const request = { workloadId, requestId: randomUUID(), lsn: null, leaseSeconds: 60, reason: 'maintenance' };
    expect(await work.run((tx) => leases.recordDisarm(tx, request))).toBe(false);
    expect(await state()).toMatchObject({ disarmedAtLsn: null, degradeSecondsLeft: 0 });
  });

  it("keeps a person's grant to its seconds, and ends it on request", async () => {
    await answer(await pulse());
    const request = { workloadId, requestId: randomUUID(), lsn: null, leaseSeconds: 8, reason: 'maintenance' };
    expect(await work.run((tx) => leases.recordDisarm(tx, request))).toBe(true);
    expect(await work.run((tx) => leases.recordDisarm(tx, request))).toBe(true);
    expect(await arming()).toEqual([true, false]);
    expect((await pulse()).request.workloads[0]?.disarmed?.leaseSeconds).toBeLessThanOrEqual(8);
    await answer(await pulse());
    expect((await state()).armed).toBe(false);
    await work.run((tx) => leases.requestRearm(tx, workloadId));
    const rearming = await pulse();
    expect(rearming.request.workloads[0]).toMatchObject({ rearm: true, disarmed: null });
    await answer(rearming);
    expect(await state()).toMatchObject({ armed: true, disarmedAtLsn: null });
    expect((await pulse()).request.workloads[0]).toMatchObject({ rearm: false });
  });

  it('of an older epoch says nothing about a newer one', async () => {
    await answer(await pulse());
    const old = await pulse();
    await sql(`UPDATE standby SET epoch = 2 WHERE workload_id = $1`, [workloadId]);
    expect(await state()).toMatchObject({ armed: false, everArmed: false, epoch: 2 });
    await answer(old);
    expect(await state()).toMatchObject({ armed: false, everArmed: false });
    await sql(`UPDATE standby SET state = 'primary' WHERE workload_id = $1`, [workloadId]);
    await answer(await pulse());
    expect((await state()).armed).toBe(false);
  });

  it("ends when the database's clock is set, and lets a degrade receiver live no shorter for it", async () => {
    const clock = site.get(LeaseClock);
    await answer(await pulse());
    await clock.compare({ database: 1_000, monotonic: 1, uncertain: 0 });
    // Nobody saw the clock before: what was believed may be of another time.
    expect((await state()).armed).toBe(false);
    await answer(await pulse());
    expect(await clock.compare({ database: 1_003, monotonic: 3, uncertain: 0.3 })).toBe(0);
    expect((await state()).armed).toBe(true);
    expect(await clock.compare({ database: 403, monotonic: 4, uncertain: 0 })).toBe(-601);
    expect((await state()).armed).toBe(false);
    await sql(`UPDATE armed_lease SET degrade_until = clock_timestamp() - interval '5 s' WHERE workload_id = $1`, [
      workloadId,
    ]);
    await clock.compare({ database: 410, monotonic: 5, uncertain: 0 });
    expect((await state()).degradeSecondsLeft).toBeGreaterThan(GRANT_SECONDS);
  });

  it('is not revived by a clock that was set back while nobody looked', async () => {
    await answer(await pulse());
    await sql(
      `UPDATE armed_lease SET armed_until = clock_timestamp() + interval '1 hour' - interval '1 s' WHERE workload_id = $1`,
      [workloadId],
    );
    expect(await state()).toMatchObject({ armed: false, secondsLeft: 0 });
  });

  it('proves strictness only once the agent was armed after hearing of it', async () => {
    await protect('available');
    await answer(await pulse());
    expect(await state()).toMatchObject({ armed: true, strictConfirmed: false });
    const before = await pulse();
    await protect('strict');
    await answer(before);
    expect(await state()).toMatchObject({ armed: true, strictConfirmed: false });
    await answer(await pulse());
    expect(await state()).toMatchObject({ strictConfirmed: true });
    await work.run((tx) => leases.forgetStrictness(tx, workloadId));
    await answer(await pulse(), notArmed);
    expect(await state()).toMatchObject({ armed: true, strictConfirmed: false });
  });

  it('is contradicted by what the agent said, until it says "armed" again', async () => {
    const contrary = () => work.run(async (tx) => (await new SourceReports().of(tx, workloadId))?.contrary.metro?.what);
    const cleared = { ...notArmed, notArmedBecause: 'no site is listed in synchronous_standby_names' };
    await answer(await pulse(), notArmed);
    expect(await contrary()).toBeUndefined();
    await answer(await pulse(), cleared);
    await answer(await pulse(), { ...notArmed, notArmedBecause: 'the metro site does not stream' });
    expect(await contrary()).toBe(cleared.notArmedBecause);
    await answer(await pulse());
    expect(await contrary()).toBeUndefined();
  });

  it('tells once of a fenced old primary, and of each finding about what only it has', async () => {
    const fenced = { epoch: 2, at: new Date().toISOString(), evidence: 'stopped' };
    const divergence = { workloadId, epoch: 2, forkedAtLsn: '0/5', endLsn: '0/6', transactions: [], truncated: false };
    await answer(await pulse(), { ...notArmed, fenced });
    await answer(await pulse(), { ...notArmed, fenced, divergence });
    await answer(await pulse(), { ...notArmed, fenced, divergence });
    expect(await results('replication.old-primary-fenced')).toEqual([{ workloadId, ...fenced }]);
    expect(await results('replication.divergence')).toEqual([divergence]);
  });
});
