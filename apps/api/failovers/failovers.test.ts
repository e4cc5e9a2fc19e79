import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cancelFailoverOrder,
  confirmFailoverOrder,
  failoverOrder,
  type PromotionOutlook,
  type RunEvent,
  runEventResult,
  runFinishedResult,
  type RunState,
} from '#contracts/failover';
import { degradeOrder } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';
import { EventStream } from '#test/event-stream';

const declaration = { reason: 'The town hall is flooded' };
const answered = { canPromote: true, bytesBehind: null, armed: false, obstacles: [] };

describe('failovers', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const declare = (workload: ProtectedWorkload, body: Record<string, unknown> = {}, key = randomUUID()) =>
    plane.api.post(`/v1/workloads/${workload.id}/failovers`, { ...declaration, ...body }, workload.agency.apiKey, key);

  const event = (
    run: { id: string; workloadId: string },
    number: number,
    change: Partial<RunEvent> = {},
  ): RunEvent => ({
    runId: run.id,
    workloadId: run.workloadId,
    number,
    at: new Date().toISOString(),
    state: 'running',
    step: 'promote',
    stepState: 'started',
    attempt: 1,
    message: 'Promoting the standby.',
    evidence: { timeline: 2 },
    ...change,
  });

  const finish = (workload: ProtectedWorkload, runId: string, state: RunState = 'completed') =>
    plane.metro.say(
      runFinishedResult,
      {
        state,
        reason: state === 'completed' ? null : 'asked to',
        report: {
          runId,
          workloadId: workload.id,
          epoch: 2,
          promotedAtLsn: state === 'completed' ? '0/5000060' : null,
          promotedTimeline: 2,
          loss: { kind: 'none', bytes: 0, why: 'armed' },
          secondsToFirstWrite: 0.4,
          otherSiteLagBytes: 0,
          frontDoor: { host: '127.0.0.1', port: 24_000 },
        },
      },
      { tenantId: workload.agency.id },
    );

  const outlook = (workload: ProtectedWorkload, loss: PromotionOutlook['loss']) =>
    plane.metro.outlooks.set(workload.id, { ...answered, workloadId: workload.id, loss });

  it('202: one transaction declares, opens the run and orders it; the key’s repetition declares nothing anew', async () => {
    const workload = await plane.protectedWorkload();
    const key = randomUUID();
    const declared = await declare(workload, {}, key);
    expect(declared).toMatchObject({
      status: 202,
      body: { state: 'accepted', epoch: 2, siteId: plane.metro.id, declaration: { number: 1, ...declaration } },
    });
    const { payload } = await plane.metro.ordered(failoverOrder, ({ runId }) => runId === declared.body.id);
    expect(payload).toMatchObject({
      declaration: 1,
      epoch: 2,
      noDegradeGranted: true,
      acceptedLoss: { kind: 'none' },
      names: workload.names,
      otherSite: { siteId: plane.regional.id },
    });
    const again = await declare(workload, {}, key);
    expect(again.body.id).toBe(declared.body.id);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    const audit = await plane.api.get('/v1/audit?action=failover.declared', workload.agency.owner);
    expect(audit.body.items).toHaveLength(1);
  });

  it('400 without an Idempotency-Key; 403 for a key without the authority; 404 for another agency', async () => {
    const workload = await plane.protectedWorkload();
    const path = `/v1/workloads/${workload.id}/failovers`;
    expect((await plane.api.post(path, declaration, workload.agency.apiKey)).body.code).toBe(
      'idempotency.key-required',
    );
    const reader = await plane.api.apiKey(workload.agency.owner, ['failovers:read', 'failovers:preview']);
    expect((await plane.api.post(path, declaration, reader, randomUUID())).status).toBe(403);
    const stranger = await plane.api.agency();
    expect((await plane.api.post(path, declaration, stranger.apiKey, randomUUID())).status).toBe(404);
    expect((await plane.api.post(`${path}/preview`, {}, stranger.apiKey)).status).toBe(404);
  });

  it('202 once and 409 once for two declarations at the same moment', async () => {
    const workload = await plane.protectedWorkload();
    const both = await Promise.all([declare(workload), declare(workload)]);
    expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
    const [won, lost] = both.toSorted((a, b) => a.status - b.status);
    expect(lost!.body).toMatchObject({ code: 'failover.open', facts: { runId: won!.body.id, declaration: 1 } });
    const runs = await plane.api.get(`/v1/workloads/${workload.id}/failovers`, workload.agency.apiKey);
    expect(runs.body.items).toHaveLength(1);
    expect(runs.body.items[0]).not.toHaveProperty('steps');
  });

  it('a grant to degrade and a declaration never pass each other', async () => {
    const workload = await plane.protectedWorkload();
    const path = `/v1/workloads/${workload.id}/protection/degrade`;
    const grant = { seconds: 600, reason: 'line works' };
    const [granted, declared] = await Promise.all([
      plane.api.post(path, grant, workload.agency.apiKey),
      declare(workload),
    ]);
    expect(declared.status).toBe(202);
    const { payload } = await plane.metro.ordered(failoverOrder, ({ runId }) => runId === declared.body.id);
    expect(payload.noDegradeGranted).toBe(granted.status === 409);
    if (granted.status === 202) await plane.metro.ordered(degradeOrder, ({ workloadId }) => workloadId === workload.id);
    const late = await plane.api.post(path, grant, workload.agency.apiKey);
    expect(late).toMatchObject({ status: 409, body: { code: 'protection.declared' } });
  });

  it('409 with what to send while it is not armed; 202 once the loss is accepted and the old server told of', async () => {
    const workload = await plane.protectedWorkload('strict', false);
    outlook(workload, { kind: 'unknown', bytes: null, why: 'Production was let go on without this site.' });
    const preview = await plane.api.post(`/v1/workloads/${workload.id}/failovers/preview`, {}, workload.agency.apiKey);
    expect(preview.body).toMatchObject({
      siteId: plane.metro.id,
      loss: { kind: 'unknown' },
      declare: { acceptLoss: { kind: 'unknown' }, oldServer: ['destroyed', 'switched-off', 'cut-off', 'unknown'] },
      sites: [
        { role: 'metro', answered: true },
        { role: 'regional', answered: false },
      ],
    });
    const refused = await declare(workload);
    expect(refused).toMatchObject({
      status: 409,
      body: {
        code: 'failover.loss-not-accepted',
        facts: { send: preview.body.declare && { acceptLoss: { kind: 'unknown' } } },
      },
    });
    const accepted = { acceptLoss: { kind: 'unknown' } };
    expect((await declare(workload, accepted)).body.code).toBe('failover.old-server-not-said');
    const declared = await declare(workload, { ...accepted, oldServer: 'switched-off' });
    expect(declared).toMatchObject({ status: 202, body: { declaration: { number: 1, oldServer: 'switched-off' } } });
  });

  it('202 while unarmed when the site itself can prove that nothing is lost', async () => {
    const workload = await plane.protectedWorkload('strict', false);
    outlook(workload, { kind: 'none', bytes: 0, why: 'The lease ran out, and nobody let the agency go on.' });
    expect((await declare(workload)).status).toBe(202);
  });

  it('streams events live, resumes after an id, ends with the run; the workload then runs at the site', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await declare(workload);
    const head = { tenantId: workload.agency.id };
    const stream = new EventStream(`${plane.api.url}/v1/failovers/${run.id}/events`, workload.agency.apiKey);
    plane.metro.say(runEventResult, event(run, 1), head);
    await stream.until(1);
    plane.metro.say(runEventResult, event(run, 2, { stepState: 'done', message: 'Promoted.' }), head);
    plane.metro.say(runEventResult, event(run, 2, { message: 'told twice' }), head);
    await stream.until(2);
    const later = new EventStream(`${plane.api.url}/v1/failovers/${run.id}/events`, workload.agency.apiKey, '1');
    finish(workload, run.id);
    // The last event may come after the report.
    plane.metro.say(runEventResult, event(run, 3, { state: 'completed', step: null, stepState: null }), head);
    await Promise.all([stream.ended, later.ended]);
    expect(stream.events.map(({ id }) => id)).toEqual(['1', '2', '3']);
    expect(stream.events[1]!.data).toMatchObject({ step: 'promote', stepState: 'done', message: 'Promoted.' });
    expect(later.events.map(({ id }) => id)).toEqual(['2', '3']);

    const path = `/v1/failovers/${run.id}`;
    const done = await plane.until(path, workload.agency.apiKey, ({ state }) => state === 'completed');
    expect(done.report).toMatchObject({ loss: { kind: 'none' }, secondsToFirstWrite: 0.4 });
    expect(done.steps.find(({ step }) => step === 'promote')).toMatchObject({ state: 'done' });
    const shown = await plane.api.get(`/v1/workloads/${workload.id}`, workload.agency.apiKey);
    expect(shown.body).toMatchObject({ epoch: 2, activeSiteId: plane.metro.id, protection: { state: 'failed-over' } });
    const stranger = await plane.api.agency();
    expect((await plane.api.get(`${path}/events`, stranger.apiKey)).status).toBe(404);
    const notices = await plane.until('/v1/notices', workload.agency.apiKey, (body) => body.items?.length >= 2);
    expect(notices.items.map(({ kind }) => kind)).toEqual(
      expect.arrayContaining(['failover.declared', 'failover.finished']),
    );
    // A second failover goes to the other site, with a higher epoch.
    const second = await declare(workload, { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' });
    expect(second.body).toMatchObject({ siteId: plane.regional.id, epoch: 3, declaration: { number: 2 } });
  });

  it('a declaration can be altered by nobody', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await declare(workload);
    for (const statement of [
      `UPDATE declaration SET reason = 'other' WHERE workload_id = '${workload.id}'`,
      `DELETE FROM declaration WHERE workload_id = '${workload.id}'`,
      `TRUNCATE declaration CASCADE`,
    ]) {
      await expect(plane.api.rows(statement)).rejects.toThrow(/never altered/);
    }
    const path = `/v1/failovers/${run.id}/confirm`;
    const said = { acceptLoss: { kind: 'unknown' }, oldServer: 'cut-off' };
    const confirmed = await plane.api.post(path, said, workload.agency.apiKey);
    expect(confirmed.body).toMatchObject({
      declaration: { acceptLoss: { kind: 'none' } },
      additions: [{ kind: 'confirm', ...said }],
    });
    await plane.metro.ordered(confirmFailoverOrder, ({ runId }) => runId === run.id);
  });

  it('a cancelled run leaves the protection as it was, and the next one has a higher epoch', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await declare(workload);
    await plane.metro.ordered(failoverOrder, ({ runId }) => runId === run.id);
    const path = `/v1/failovers/${run.id}`;
    await plane.until(`/v1/staff/sites/${plane.metro.id}`, plane.staff, (body) => body.pendingOrders === 0);
    const abandoned = await plane.api.post(`${path}/cancel`, { abandon: true }, workload.agency.apiKey);
    expect(abandoned).toMatchObject({ status: 409, body: { code: 'failover.delivered' } });
    expect((await plane.api.post(`${path}/cancel`, {}, workload.agency.apiKey)).status).toBe(202);
    await plane.metro.ordered(cancelFailoverOrder, ({ runId }) => runId === run.id);
    finish(workload, run.id, 'cancelled');
    await plane.until(path, workload.agency.apiKey, ({ state }) => state === 'cancelled');
    const protection = await plane.api.get(`/v1/workloads/${workload.id}/protection`, workload.agency.apiKey);
    expect(protection.body).toMatchObject({ state: 'protecting', activeSiteId: null, epoch: 1 });
    expect((await plane.api.post(`${path}/cancel`, {}, workload.agency.apiKey)).body.code).toBe('failover.finished');
    expect((await declare(workload)).body).toMatchObject({ epoch: 3, declaration: { number: 2 } });
  });

  it('a site that refuses the run fails it, and the protection is free again', async () => {
    const workload = await plane.protectedWorkload();
    plane.metro.refuses.add(failoverOrder.kind);
    const { body: run } = await declare(workload);
    const failed = await plane.until(`/v1/failovers/${run.id}`, workload.agency.apiKey, (b) => b.state === 'failed');
    plane.metro.refuses.clear();
    expect(failed.stateReason).toContain('order.refused');
    expect((await declare(workload)).status).toBe(202);
  });

  it('a run whose site is gone can be given up, and the other site chosen', async () => {
    const workload = await plane.protectedWorkload();
    await plane.metro.cut();
    try {
      const { body: run } = await declare(workload);
      const path = `/v1/failovers/${run.id}/cancel`;
      const given = await plane.api.post(path, { abandon: true }, workload.agency.apiKey);
      expect(given).toMatchObject({ status: 202, body: { state: 'cancelled' } });
      await plane.api.rows(`UPDATE standby_health SET received_at = now() - interval '1 minute' WHERE site_id = $1`, [
        plane.metro.id,
      ]);
      const declared = await declare(workload, { acceptLoss: { kind: 'unknown' }, oldServer: 'destroyed' });
      expect(declared).toMatchObject({ status: 202, body: { siteId: plane.regional.id } });
    } finally {
      await plane.metro.open();
    }
  });

  it('two workers apply each result once, and one that stops leaves its sites to the other', async () => {
    const workload = await plane.protectedWorkload();
    const { body: run } = await declare(workload);
    await plane.startWorker();
    const count = 60;
    const tell = (from: number, to: number) => {
      for (let number = from; number <= to; number += 1) {
        plane.metro.say(runEventResult, event(run, number), { tenantId: workload.agency.id });
      }
    };
    tell(1, count / 2);
    await plane.stopWorkers();
    await plane.startWorker();
    tell(count / 2 + 1, count);
    const numbers = await waitFor(
      'all events',
      async () => {
        const rows = await plane.api.rows<{ number: number }>(
          `SELECT number FROM run_event WHERE run_id = $1 ORDER BY number`,
          [run.id],
        );
        return rows.length === count && rows.map(({ number }) => number);
      },
      { timeoutMs: 20_000 },
    );
    expect(numbers).toEqual(Array.from({ length: count }, (_, index) => index + 1));
  });
});
