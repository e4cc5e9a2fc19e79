import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { failoverOrder, runFinishedResult } from '#contracts/failover';
import { standbyChanged } from '#contracts/replication';
import type { ResultContract } from '#contracts/sites';
import type { AnsweredBody } from '#test/api';
import { ControlPlane, type ProtectedWorkload } from '#test/control-plane';

/** A result as no honest site would send it: nothing checks it before the control plane does. */
const raw = (kind: string): ResultContract<Record<string, unknown>> => ({
  kind,
  payload: z.record(z.string(), z.unknown()),
});

describe('what a site says that is not so, or cannot be stored', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const declare = async (workload: ProtectedWorkload) => {
    const body = { reason: 'The town hall is flooded' };
    const path = `/v1/workloads/${workload.id}/failovers`;
    const { body: run } = await plane.api.post(path, body, workload.agency.apiKey, randomUUID());
    await plane.metro.ordered(failoverOrder, ({ runId }) => runId === run.id);
    return run as { id: string };
  };
  const finish = (workload: ProtectedWorkload, runId: string, about: { workloadId: string; epoch: number }) =>
    plane.metro.say(
      runFinishedResult,
      {
        state: 'completed',
        reason: null,
        report: {
          runId,
          ...about,
          promotedAtLsn: '0/5000000',
          promotedTimeline: 2,
          loss: { kind: 'none', bytes: 0, why: 'armed' },
          secondsToFirstWrite: 0.6,
          otherSiteLagBytes: null,
          frontDoor: null,
        },
      },
      { tenantId: workload.agency.id },
    );

  const events = async (workload: ProtectedWorkload): Promise<readonly AnsweredBody[]> => {
    const path = `/v1/workloads/${workload.id}/protection/events`;
    return (await plane.until(path, workload.agency.apiKey, ({ items }) => items.length > 0)).items;
  };

  it('a report of another epoch or workload is set aside, and the epoch is the declared one', async () => {
    const workload = await plane.protectedWorkload();
    const run = await declare(workload);
    finish(workload, run.id, { workloadId: workload.id, epoch: 2 ** 31 - 1 });
    finish(workload, run.id, { workloadId: randomUUID(), epoch: 2 });
    finish(workload, run.id, { workloadId: workload.id, epoch: 2 });
    await plane.until(`/v1/failovers/${run.id}`, workload.agency.apiKey, ({ state }) => state === 'completed');
    expect(await plane.api.rows('SELECT epoch FROM workload WHERE id = $1', [workload.id])).toEqual([{ epoch: 2 }]);
    const aside = await plane.api.rows('SELECT seq FROM unapplied_result WHERE kind = $1 AND tenant_id = $2', [
      runFinishedResult.kind,
      workload.agency.id,
    ]);
    expect(aside).toHaveLength(2);
  });

  it('a text of any length is told, and kept in the history', async () => {
    const workload = await plane.protectedWorkload();
    const payload = { workloadId: workload.id, role: 'metro', state: 'broken', reason: 'x'.repeat(100_000) };
    plane.metro.say(raw(standbyChanged.kind), payload, { tenantId: workload.agency.id });
    expect((await events(workload))[0]).toMatchObject({ kind: standbyChanged.kind });
    const path = '/v1/notices';
    const notices = await plane.until(path, workload.agency.apiKey, ({ items }) =>
      items.some(({ kind }) => kind === 'replication.standby-broken'),
    );
    expect(notices).toBeDefined();
  });

  it('what a database refuses does not keep a site from telling what comes after it', async () => {
    const workload = await plane.protectedWorkload();
    const head = { tenantId: workload.agency.id };
    plane.metro.say(raw('nobody.knows\0this'), { text: 'NUL \0, half a pair \ud800', deep: { list: ['\0'] } }, head);
    const payload = { workloadId: workload.id, role: 'metro', state: 'broken', reason: 'NUL \0 in it' };
    plane.metro.say(raw(standbyChanged.kind), payload, head);
    expect(await events(workload)).toHaveLength(1);
  });
});
