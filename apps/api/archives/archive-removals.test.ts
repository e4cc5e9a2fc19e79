import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bringBackOrder, dropPointOrder, dropResult } from '#contracts/archive';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';

describe('what was removed from an archive', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  it('is brought back at each site, by a person with the authority', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const since = '2026-11-20T08:00:00.000Z';
    const { owner, apiKey } = archive.agency;
    const path = `${archive.path}/undo-removals`;
    expect((await plane.api.post(path, { since }, apiKey)).body.code).toBe('archive.person-needed');
    expect((await plane.api.post(path, { since: 'yesterday' }, owner)).status).toBe(400);
    expect(await plane.api.post(path, { since }, owner)).toMatchObject({ status: 202, body: { since, keys: false } });
    const { payload } = await plane.metro.ordered(bringBackOrder, ({ archiveId }) => archiveId === archive.id);
    expect(payload).toEqual({ ...archive.ref, since });
    expect((await archive.notice('archives.removals-undone')).severity).toBe('information');
    const { body } = await plane.api.get('/v1/audit', owner);
    expect(body.items).toContainEqual(
      expect.objectContaining({
        action: 'archive.removals-undone',
        subjectId: archive.id,
        detail: { since, keys: false },
      }),
    );
  });

  it('is brought back without keys, unless they are asked for', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const since = '2026-11-20T08:00:00.000Z';
    const { owner } = archive.agency;
    const path = `${archive.path}/undo-removals`;
    expect((await plane.api.post(path, { since, keys: 'all' }, owner)).status).toBe(400);
    expect(await plane.api.post(path, { since, keys: true }, owner)).toMatchObject({
      status: 202,
      body: { since, keys: true },
    });
    const { payload } = await plane.metro.ordered(bringBackOrder, ({ archiveId }) => archiveId === archive.id);
    expect(payload).toEqual({ ...archive.ref, since, keys: true });
    expect((await archive.notice('archives.removals-undone')).text).toContain('keys');
    const { body } = await plane.api.get('/v1/audit', owner);
    expect(body.items).toContainEqual(
      expect.objectContaining({
        action: 'archive.removals-undone',
        subjectId: archive.id,
        detail: { since, keys: true },
      }),
    );
  });

  it('is brought back of an archive that is ending, and not of one that has ended', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { owner } = archive.agency;
    const since = '2026-11-20T08:00:00.000Z';
    const undo = () => plane.api.post(`${archive.path}/undo-removals`, { since }, owner);
    await plane.api.call('DELETE', archive.path, { token: owner });
    expect((await undo()).status).toBe(202);
    archive.state({ state: 'ended', storedBytes: 0 });
    await plane.until(archive.path, owner, ({ state }) => state === 'ended');
    expect(await undo()).toMatchObject({ status: 409, body: { code: 'archive.ended' } });
    const removed = await plane.api.call('DELETE', `/v1/workloads/${archive.workloadId}`, { token: owner });
    expect(removed.status).toBe(204);
    expect(await undo()).toMatchObject({ status: 409, body: { code: 'archive.ended' } });
    const undone = (await archive.audited()).filter((action) => action === 'archive.removals-undone');
    expect(undone).toHaveLength(1);
  });

  it('stays gone at the second copy, too, where two people dropped it', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    const { owner } = archive.agency;
    const declarer = await plane.api.member(archive.agency, 'operator', true);
    // Another one, of which only the site says so.
    archive.point({ forgottenAt: new Date().toISOString(), forgottenBecause: 'two-people' });
    const point = await archive.kept();
    const { snapshotId } = point.said;
    expect((await plane.api.post(`${point.path}/drop`, { because: 'a secret' }, owner)).status).toBe(202);
    expect((await plane.api.post(`${point.path}/drop/approve`, {}, declarer.token)).status).toBe(202);
    const { payload: drop } = await plane.metro.ordered(dropPointOrder, ({ archiveId }) => archiveId === archive.id);
    archive.say(dropResult, { ...archive.ref, dropId: drop.dropId, snapshotId, state: 'done', failure: null });
    await plane.until(point.path, owner, (body) => body.drop.state === 'done');
    const since = '2026-11-20T08:00:00.000Z';
    expect((await plane.api.post(`${archive.path}/undo-removals`, { since }, owner)).status).toBe(202);
    const mine = (payload: { archiveId: string }) => payload.archiveId === archive.id;
    expect((await plane.metro.ordered(bringBackOrder, mine)).payload).toEqual({ ...archive.ref, since });
    const copy = await plane.regional.ordered(bringBackOrder, mine);
    expect(copy.payload).toEqual({ ...archive.ref, since, dropped: [snapshotId] });
  });
});
