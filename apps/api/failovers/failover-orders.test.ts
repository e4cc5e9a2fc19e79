import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cancelFailoverOrder,
  failoverOrder,
  runEventResult,
  runFinishedResult,
  type StandAside,
  standAsideOrder,
} from '#contracts/failover';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';

describe('what sites are asked and ordered around a failover', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const declare = (workload: ProtectedWorkload, body: Record<string, unknown> = {}) =>
    plane.api.post(
      `/v1/workloads/${workload.id}/failovers`,
      { reason: 'The town hall is flooded', ...body },
      workload.agency.apiKey,
      randomUUID(),
    );

  it('an order whose signature does not hold fails, and holds up none of those after it', async () => {
    const [spoilt, next] = [await plane.protectedWorkload(), await plane.protectedWorkload()];
    plane.metro.distrusts.add(failoverOrder.kind);
    const { body: run } = await declare(spoilt);
    const failed = await plane.until(`/v1/failovers/${run.id}`, spoilt.agency.apiKey, (b) => b.state === 'failed');
    expect(failed.stateReason).toContain('order.signature-invalid');
    plane.metro.distrusts.clear();
    const { body: later } = await declare(next);
    await plane.metro.ordered(failoverOrder, ({ runId }) => runId === later.id);
  });

  const finish = (
    workload: ProtectedWorkload,
    run: { id: string; epoch: number },
    promotedAtLsn: string | null,
    frontDoor: { host: string; port: number } | null = null,
  ) =>
    plane.metro.say(
      runFinishedResult,
      {
        state: promotedAtLsn === null ? 'cancelled' : 'completed',
        reason: null,
        report: {
          runId: run.id,
          workloadId: workload.id,
          epoch: run.epoch,
          promotedAtLsn,
          promotedTimeline: promotedAtLsn === null ? null : 2,
          loss: { kind: 'none', bytes: 0, why: 'armed' },
          secondsToFirstWrite: null,
          otherSiteLagBytes: null,
          frontDoor,
        },
      },
      { tenantId: workload.agency.id },
    );
  const told = async (runId: string, word: StandAside['word'], site = plane.regional) =>
    (await site.ordered(standAsideOrder, (one) => one.runId === runId && one.word === word)).payload;
  const state = (run: { id: string }, workload: ProtectedWorkload, wanted: string) =>
    plane.until(`/v1/failovers/${run.id}`, workload.agency.apiKey, (body) => body.state === wanted);
  const delivered = async (workload: ProtectedWorkload) => {
    const declared = await declare(workload);
    await plane.until(`/v1/staff/sites/${plane.metro.id}`, plane.staff, (body) => body.pendingOrders === 0);
    return declared;
  };
  const giveUp = (run: { id: string }, workload: ProtectedWorkload) =>
    plane.api.post(`/v1/failovers/${run.id}/cancel`, { abandon: true }, workload.agency.apiKey);

  it('the other site is told to hold at the declaration, and at the end what came of it', async () => {
    const workload = await plane.protectedWorkload();
    const { body: cancelled } = await declare(workload);
    expect(await told(cancelled.id, 'hold')).toMatchObject({ workloadId: workload.id, epoch: 2, promotedAtLsn: null });
    finish(workload, cancelled, null);
    expect(await told(cancelled.id, 'resume')).toMatchObject({ epoch: 2 });
    await state(cancelled, workload, 'cancelled');
    const { body: run } = await declare(workload);
    expect(await told(run.id, 'hold')).toMatchObject({ epoch: 3 });
    finish(workload, run, '0/5000060');
    expect(await told(run.id, 'promoted')).toMatchObject({
      epoch: 3,
      promotedAtLsn: '0/5000060',
      promotedTimeline: 2,
    });
    await state(run, workload, 'completed');
    // Where production runs is the other site of the next failover.
    const { body: second } = await declare(workload, { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' });
    expect(await told(second.id, 'hold', plane.metro)).toMatchObject({ epoch: 4 });
    const { payload } = await plane.regional.ordered(failoverOrder, ({ runId }) => runId === second.id);
    expect(payload.otherSite).toMatchObject({ siteId: plane.metro.id });
  });

  it('a run that its site refuses lets the other site go on', async () => {
    const workload = await plane.protectedWorkload();
    plane.metro.refuses.add(failoverOrder.kind);
    const { body: run } = await declare(workload);
    await told(run.id, 'resume');
    plane.metro.refuses.clear();
  });

  it('a run that was given up and promotes all the same is where production runs', async () => {
    const workload = await plane.protectedWorkload();
    await plane.metro.cut();
    const { body: run } = await declare(workload);
    expect((await giveUp(run, workload)).status).toBe(202);
    await plane.metro.open();
    await told(run.id, 'resume');
    finish(workload, run, '0/5000060');
    expect(await told(run.id, 'promoted')).toMatchObject({ epoch: 2 });
    await state(run, workload, 'completed');
    const shown = await plane.api.get(`/v1/workloads/${workload.id}`, workload.agency.apiKey);
    expect(shown.body).toMatchObject({ epoch: 2, activeSiteId: plane.metro.id, protection: { state: 'failed-over' } });
  });

  it('a run that its site has can be given up once the site is silent, and the other chosen with a higher epoch', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await delivered(workload);
    expect((await giveUp(run, workload)).body.code).toBe('failover.delivered');
    await plane.metro.cut();
    try {
      await plane.api.rows(`UPDATE standby_health SET received_at = now() - interval '1 minute' WHERE site_id = $1`, [
        plane.metro.id,
      ]);
      const given = await giveUp(run, workload);
      expect(given).toMatchObject({ status: 202, body: { state: 'cancelled' } });
      expect(given.body.stateReason).toContain('the other site stays aside');
      const { body: next } = await declare(workload, { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' });
      expect(next).toMatchObject({ siteId: plane.regional.id, epoch: 3 });
    } finally {
      await plane.metro.open();
    }
    await plane.metro.ordered(cancelFailoverOrder, ({ runId }) => runId === run.id);
  });

  it('a site that was not heard for a while, by an api that was away itself, is asked before it is passed over', async () => {
    const [armed, unarmed] = [await plane.protectedWorkload(), await plane.protectedWorkload('strict', false)];
    const loss = { kind: 'none', bytes: 0, why: 'Nobody let the agency go on.' } as const;
    for (const { id } of [armed, unarmed]) {
      const about = { workloadId: id, loss, canPromote: true, bytesBehind: 0, armed: false, obstacles: [] };
      plane.metro.outlooks.set(id, about);
      plane.regional.outlooks.set(id, { ...about, loss: { kind: 'unknown', bytes: null, why: 'behind' } });
      await plane.api.rows(
        `UPDATE standby_health SET received_at = now() - interval '1 minute' WHERE site_id = $1 AND workload_id = $2`,
        [plane.metro.id, id],
      );
    }
    const whatever = { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' };
    expect((await declare(armed, whatever)).body).toMatchObject({ siteId: plane.metro.id });
    expect((await declare(unarmed)).body).toMatchObject({ siteId: plane.metro.id });
  });

  it('strictness proves nothing against what the agent told the other site since it was armed', async () => {
    const workload = await plane.protectedWorkload('strict', false);
    const loss = { kind: 'none', bytes: 0, why: 'Strict, and nobody let the agency go on.' } as const;
    const about = { workloadId: workload.id, loss, canPromote: true, bytesBehind: null, armed: false, obstacles: [] };
    const heard = (secondsAgo: number) =>
      plane.regional.outlooks.set(workload.id, {
        ...about,
        loss: { kind: 'unknown', bytes: null, why: 'behind' },
        contrary: { what: 'no site is listed', secondsAgo },
      });
    plane.metro.outlooks.set(workload.id, { ...about, armedSecondsAgo: 60 });
    heard(30);
    const preview = () => plane.api.post(`/v1/workloads/${workload.id}/failovers/preview`, {}, workload.agency.apiKey);
    expect((await preview()).body).toMatchObject({ siteId: plane.metro.id, loss: { kind: 'unknown' } });
    expect((await declare(workload)).body).toMatchObject({
      code: 'failover.loss-not-accepted',
      facts: { loss: { kind: 'unknown', why: expect.stringContaining('no site is listed') } },
    });
    heard(90);
    expect((await preview()).body.loss).toEqual(loss);
    expect((await declare(workload)).status).toBe(202);
  });

  it('a run whose site fails at a step again and again can be given up', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await delivered(workload);
    const retrying = { step: 'compare', stepState: 'retrying', state: 'running', message: 'No space.' } as const;
    const about = { runId: run.id, workloadId: workload.id, evidence: {}, at: new Date().toISOString() };
    const tell = (attempt: number) =>
      plane.metro.say(
        runEventResult,
        { ...about, ...retrying, number: attempt, attempt },
        { tenantId: workload.agency.id },
      );
    const tried = (attempt: number) =>
      plane.until(`/v1/failovers/${run.id}`, workload.agency.apiKey, ({ steps }) =>
        steps.some((one) => one.attempt === attempt),
      );
    tell(1);
    await tried(1);
    expect((await giveUp(run, workload)).body.code).toBe('failover.delivered');
    tell(2);
    tell(3);
    await tried(3);
    expect(await giveUp(run, workload)).toMatchObject({ status: 202, body: { state: 'cancelled' } });
    // It may promote still: nobody goes on before it has said that it does not.
    await plane.metro.ordered(cancelFailoverOrder, ({ runId }) => runId === run.id);
    const resumes = () =>
      plane.api.rows(`SELECT FROM outgoing_order WHERE payload->>'runId' = $1 AND payload->>'word' = 'resume'`, [
        run.id,
      ]);
    expect(await resumes()).toHaveLength(0);
    finish(workload, run, null);
    expect(await told(run.id, 'resume')).toMatchObject({ epoch: 2 });
    await state(run, workload, 'cancelled');
  });

  it('closed front doors are a warning and no obstacle, and the end of the run says that nobody gets in', async () => {
    const workload = await plane.protectedWorkload();
    const token = workload.agency.apiKey;
    plane.metro.outlooks.set(workload.id, {
      ...{ workloadId: workload.id, canPromote: true, bytesBehind: 0, armed: true, obstacles: [] },
      loss: { kind: 'none', bytes: 0, why: 'Armed.' },
    });
    const preview = () => plane.api.post(`/v1/workloads/${workload.id}/failovers/preview`, undefined, token);
    expect((await preview()).body.warnings).toEqual([]);
    const closed = { token, body: { clientNetworks: [] } };
    expect((await plane.api.call('PATCH', `/v1/workloads/${workload.id}/protection`, closed)).status).toBe(202);
    expect((await preview()).body).toMatchObject({
      obstacles: [],
      warnings: [{ code: 'front-door.closed', remedy: expect.stringContaining('PATCH clientNetworks') }],
    });
    const { body: run } = await declare(workload);
    finish(workload, run, '0/5000060', { host: 'warm.example', port: 24_000 });
    await state(run, workload, 'completed');
    const [notice] = await plane.api.rows<{ text: string }>(
      `SELECT payload->>'text' AS text FROM outbox_event WHERE tenant_id = $1 AND payload->>'kind' = 'failover.finished'`,
      [workload.agency.id],
    );
    expect(notice?.text).toMatch(/warm\.example:24000, and nobody gets in: No client network is listed/);
  });
});
