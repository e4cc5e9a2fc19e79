import { randomUUID } from 'node:crypto';
import { it } from 'vitest';
import { failoverOrder, runEventResult } from '#contracts/failover';
import { ControlPlane } from '#test/control-plane';
it('latency', async () => {
  const plane = await ControlPlane.start();
  for (let i = 0; i < 6; i++) {
    const w = await plane.protectedWorkload();
    const t0 = performance.now();
    const done = plane.api.post(`/v1/workloads/${w.id}/failovers`, { reason: 'x' }, w.agency.apiKey, randomUUID()).then((r) => ({ r, at: performance.now() - t0 }));
    const { payload } = await plane.metro.ordered(failoverOrder, (p) => p.workloadId === w.id);
    const arrived = performance.now() - t0;
    const { r, at } = await done;
    const t1 = performance.now();
    plane.metro.say(runEventResult, { runId: payload.runId, workloadId: w.id, number: 1, at: new Date().toISOString(), state: 'running', step: 'promote', stepState: 'started', attempt: 1, message: 'm', evidence: {} }, { tenantId: w.agency.id });
    for (;;) { const b = await plane.api.rows('select 1 from run_event where run_id=$1', [payload.runId]); if (b.length) break; }
    console.log('post', Math.round(at), 'arrived', Math.round(arrived), 'event', Math.round(performance.now() - t1), r.status);
  }
  for (let i = 0; i < 3; i++) { const t = performance.now(); await plane.stopWorkers(); console.log('stop', performance.now() - t); await plane.startWorker(); await new Promise(r => setTimeout(r, 1000)); }
  await plane.close();
});
