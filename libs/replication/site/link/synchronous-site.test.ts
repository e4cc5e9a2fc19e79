import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type PulseWorkload, REGIONAL_LEADS } from '#contracts/replication';
import type { SiteUnitOfWork } from '#libs/platform/database';
import { SourceReports } from '../source-reports.js';
import { ArmedLeases } from './armed-leases.js';
import { GRANT_SECONDS } from './pulse-requests.js';
import { PulsedSite } from './testing/pulsed-site.js';

describe('the synchronous site', () => {
  const site = new PulsedSite();
  const { sql, state, protect, pulse, answer } = site;
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
  });

  const disarmed = async () => (await pulse()).request.workloads[0]?.disarmed;
  const contrary = async () => (await work.run((tx) => new SourceReports().of(tx, workloadId)))?.contrary;
  const news = () => site.results('replication.arming-changed');
  const leads = (changes: Partial<PulseWorkload> = {}): Partial<PulseWorkload> => ({
    synchronousSite: 'regional',
    mode: 'strict',
    ...changes,
  });

  it('alone holds the lease: the regional one believes "armed" only where it is said of itself', async () => {
    await protect('regional');
    await answer(await pulse());
    await answer(await pulse(), { synchronousSite: 'metro' });
    expect(await state()).toMatchObject({ armed: false, everArmed: false });
    expect(await contrary()).toMatchObject({ metro: null, regional: { what: expect.any(String) } });
    await answer(await pulse(), leads());
    expect(await state()).toMatchObject({ armed: true, everArmed: true, strictConfirmed: true });
    expect(await contrary()).toMatchObject({
      metro: { what: 'the metro site is not the synchronous one' },
      regional: null,
    });
    await answer(await pulse(), { synchronousSite: 'metro' });
    expect(await contrary()).toMatchObject({ metro: null, regional: { what: expect.any(String) } });
  });

  it('is never the metro while the agent says that the regional one leads, and that one’s being armed is kept', async () => {
    await protect('metro');
    await answer(await pulse());
    const before = await state();
    const elsewhere = { armed: false, armedSince: null, synchronousSite: 'regional' as const };
    await answer(await pulse(), { ...elsewhere, notArmedBecause: REGIONAL_LEADS });
    expect((await state()).armedUntil).toEqual(before.armedUntil);
    expect(await contrary()).toMatchObject({ metro: { what: expect.any(String) }, regional: null });
    await answer(await pulse(), { ...elsewhere, notArmedBecause: 'no site is listed' });
    expect(await contrary()).toMatchObject({ regional: { what: 'no site is listed' } });
    await answer(await pulse(), { ...elsewhere, notArmedBecause: REGIONAL_LEADS });
    expect(await contrary()).toMatchObject({ regional: null });
  });

  it('proves strictness to the regional one only by the mode that the agent goes by: the metro’s word', async () => {
    await protect('regional');
    for (const mode of ['available', undefined] as const) {
      const rest = { synchronousSite: 'regional' as const };
      await answer(await pulse(), mode ? { ...rest, mode } : rest);
      expect(await state()).toMatchObject({ armed: true, strictConfirmed: false });
    }
    await answer(await pulse(), leads());
    expect(await state()).toMatchObject({ strictConfirmed: true });
  });

  it('records the return to the metro before it allows it, in strict mode too, and is armed again if it does not come', async () => {
    await protect('regional');
    await answer(await pulse(), leads());
    const underWay = await pulse();
    const returnRequest = { requestId: randomUUID(), lsn: '0/6000000', reason: 'the metro site is back and near' };
    await answer(await pulse(), leads({ returnRequest }));
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000', endedBecause: 'disarmed' });
    await answer(underWay, leads());
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000' });
    const allowing = await pulse();
    expect(allowing.request.workloads[0]?.disarmed).toEqual({
      requestId: returnRequest.requestId,
      leaseSeconds: GRANT_SECONDS,
      to: 'metro',
    });
    // There is no receiver, and none to be waited for.
    expect((await state()).degradeSecondsLeft).toBe(0);
    await answer(allowing, leads({ returnRequest }));
    expect((await state()).armed).toBe(false);
    // The metro was lost again: it asks no more.
    await answer(await pulse(), leads());
    const without = await pulse();
    expect(without.request.workloads[0]?.disarmed).toBeNull();
    await answer(without, leads());
    expect(await state()).toMatchObject({ armed: true, disarmedAtLsn: null });
  });

  it('once it is the metro again, the regional one stays disarmed and passes nothing on', async () => {
    await protect('regional');
    await answer(await pulse(), leads());
    await answer(
      await pulse(),
      leads({ returnRequest: { requestId: randomUUID(), lsn: '0/6000000', reason: 'back' } }),
    );
    await answer(await pulse(), { synchronousSite: 'metro' });
    expect(await disarmed()).toBeNull();
    await answer(await pulse(), { synchronousSite: 'metro' });
    expect(await state()).toMatchObject({ armed: false, disarmedAtLsn: '0/6000000' });
  });

  it('becomes it by a grant that it passes on without believing anything, to an agent that knows what that means', async () => {
    await protect('regional');
    await answer(await pulse());
    const grant = { workloadId, requestId: randomUUID(), leaseSeconds: 600, to: 'regional' as const };
    await work.run((tx) => leases.passOn(tx, grant));
    expect(await disarmed()).toBeNull();
    await answer(await pulse(), { synchronousSite: 'metro' });
    expect(await disarmed()).toEqual({
      requestId: grant.requestId,
      leaseSeconds: GRANT_SECONDS,
      to: 'regional',
      byOrder: true,
    });
    expect(await state()).toMatchObject({ armed: false, disarmedAt: null, degradeSecondsLeft: 0 });
    expect(await news()).toEqual([]);
    // It was done: it is passed on no more, and with that armed.
    await answer(await pulse(), leads());
    expect(await disarmed()).toBeNull();
    await answer(await pulse(), leads());
    expect(await state()).toMatchObject({ armed: true, strictConfirmed: true });
  });

  it('asks for the return until a pulse has carried it', async () => {
    await protect('regional');
    await answer(await pulse(), leads());
    const before = await pulse();
    await work.run((tx) => leases.requestRearm(tx, workloadId));
    await answer(before, leads());
    const carrying = await pulse();
    expect(carrying.request.workloads[0]?.rearm).toBe(true);
    await answer(carrying, leads());
    expect((await pulse()).request.workloads[0]?.rearm).toBe(false);
  });

  it('proves nothing of a copy that was made anew, and nothing of an older epoch', async () => {
    await protect('regional');
    await answer(await pulse(), leads());
    const underWay = await pulse();
    await sql(`UPDATE standby SET state = 'seeding' WHERE workload_id = $1`, [workloadId]);
    await work.run((tx) => leases.forgetCopy(tx, workloadId));
    expect(await state()).toMatchObject({ armed: false, strictConfirmed: false });
    await answer(underWay, leads());
    expect(await state()).toMatchObject({ armed: false, strictConfirmed: false });

    const grant = { workloadId, requestId: randomUUID(), leaseSeconds: 600, to: 'regional' as const };
    await work.run((tx) => leases.passOn(tx, grant));
    await sql(`UPDATE standby SET state = 'streaming', epoch = 2 WHERE workload_id = $1`, [workloadId]);
    await leases.refuse(workloadId);
    await leases.allow(workloadId);
    expect(await state()).toMatchObject({ everArmed: false, epoch: 2 });
    expect(await disarmed()).toBeNull();
  });
});
