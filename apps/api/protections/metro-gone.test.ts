import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { unprotectedResult, unprotectOrder } from '#contracts/replication';
import { ControlPlane } from '#test/control-plane';

describe('the metro site is gone for good', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  it('204: the protection ends while the regional site leads, and asked again without the site that is silent', async () => {
    const { agency, id } = await plane.protectedWorkload();
    const path = `/v1/workloads/${id}/protection`;
    const remove = () => plane.api.call('DELETE', path, { token: agency.apiKey });
    await plane.api.post(
      `${path}/degrade`,
      { seconds: 600, reason: 'The metro site burns', to: 'regional' },
      agency.apiKey,
    );
    plane.measure(id, agency.id, true, 'regional');
    await plane.until(path, agency.apiKey, ({ synchronousSite }) => synchronousSite === 'regional');
    expect((await remove()).status).toBe(204);
    for (const site of [plane.metro, plane.regional]) {
      site.workloads = site.workloads.filter(({ workloadId }) => workloadId !== id);
      site.show();
    }
    const { order } = await plane.regional.ordered(unprotectOrder, ({ workloadId }) => workloadId === id);
    const ended = { workloadId: id, role: 'regional' } as const;
    plane.regional.say(unprotectedResult, ended, { tenantId: agency.id, orderId: order.id });
    const measured = () =>
      plane.api.rows<{ site: string }>('SELECT site_id AS site FROM standby_health WHERE workload_id = $1', [id]);
    await plane.until(path, agency.apiKey, ({ regional }) => regional.measuredSecondsAgo === null);
    expect(await measured()).toEqual([{ site: plane.metro.id }]);

    // Heard just now: it may still do as it was told.
    expect((await remove()).status).toBe(204);
    expect((await plane.api.get(path, agency.apiKey)).body.state).toBe('removing');
    expect(await plane.api.post(path, { mode: 'available' }, agency.apiKey)).toMatchObject({
      status: 409,
      body: { code: 'protection.exists' },
    });
    await plane.api.rows(
      `UPDATE standby_health SET received_at = now() - interval '16 minutes' WHERE workload_id = $1`,
      [id],
    );
    expect((await remove()).status).toBe(204);
    expect((await plane.api.get(path, agency.apiKey)).status).toBe(404);
    const audit = await plane.api.get('/v1/audit?action=protection.removed', agency.owner);
    expect(audit.body.items[0]!.detail).toEqual({ leftBehindAt: [plane.metro.id] });
    expect((await plane.api.post(path, { mode: 'available' }, agency.apiKey)).status).toBe(202);
  });
});
