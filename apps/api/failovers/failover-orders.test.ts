import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { failoverOrder, runFinishedResult, type StandAside, standAsideOrder } from '#contracts/failover';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';

describe('what sites are ordered around a failover', () => {
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
    await plane.metro.cut();
    const { body: run } = await declare(spoilt);
    await plane.api.rows(`UPDATE outgoing_order SET signature = 'AAAA' WHERE payload->>'runId' = $1`, [run.id]);
    await plane.metro.open();
    const { body: later } = await declare(next);
    await plane.metro.ordered(failoverOrder, ({ runId }) => runId === later.id);
    const failed = await plane.until(`/v1/failovers/${run.id}`, spoilt.agency.apiKey, (b) => b.state === 'failed');
    expect(failed.stateReason).toContain('order.signature-invalid');
  });

  const finish = (workload: ProtectedWorkload, run: { id: string; epoch: number }, promotedAtLsn: string | null) =>
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
          frontDoor: null,
        },
      },
      { tenantId: workload.agency.id },
    );
  const told = async (runId: string, word: StandAside['word'], site = plane.regional) =>
    (await site.ordered(standAsideOrder, (one) => one.runId === runId && one.word === word)).payload;
  const state = (run: { id: string }, workload: ProtectedWorkload, wanted: string) =>
    plane.until(`/v1/failovers/${run.id}`, workload.agency.apiKey, (body) => body.state === wanted);
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
});
