import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ArchiveAlarm, ensureArchiveOrder, judgeChangeOrder, keepCopyOrder } from '#contracts/archive';
import { orderFailed } from '#contracts/sites';
import { ArchiveWatch } from '#libs/archive/control';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';

describe('what people are told of archives', () => {
  let plane: ControlPlane;
  let watch: ArchiveWatch;
  beforeAll(async () => {
    plane = await ControlPlane.start();
    watch = plane.workerService(ArchiveWatch);
  });
  afterAll(() => plane.close());

  const ended = () => ({ endedAt: new Date().toISOString() });
  const failure = { code: 'restic.failed', message: 'The repository could not be opened.' };
  const count = async (archive: ArchivedWorkload, kind: string): Promise<number> => {
    const [row] = await plane.api.rows<{ n: number }>(
      `SELECT count(*)::int + coalesce(sum(repeats), 0)::int AS n FROM notice
        WHERE kind = $1 AND subject_ids->>'archiveId' = $2`,
      [kind, archive.id],
    );
    return row!.n;
  };

  it('a failed run, a partial one with what could not be read, one that fell silent; each once', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const failed = archive.run({ state: 'failed', failure, ...ended() });
    archive.run({ ...failed });
    expect((await archive.notice('archives.run-failed')).text).toContain('could not be opened. (restic.failed)');
    const faults = [{ path: '/srv/share/locked.mdb', what: 'permission denied' }];
    archive.run({ state: 'partial', faultCount: 3, faults, ...ended() });
    const partial = await archive.notice('archives.run-partial');
    expect(partial.text).toContain('/srv/share/locked.mdb: permission denied');
    expect(partial.text).toContain('and 2 more');
    const silent = archive.run({ state: 'unknown' });
    await archive.notice('archives.silent');
    expect((await plane.api.get(archive.path, archive.agency.apiKey)).body.condition).toBe('unknown');
    archive.run({ runId: silent.runId, state: 'completed', ...ended() });
    await plane.until(archive.path, archive.agency.apiKey, ({ lastRun }) => lastRun?.state === 'completed');
    expect(await count(archive, 'archives.run-failed')).toBe(1);
  });

  it('damaged bytes, and their repair; a failed proof with its checks; a clock that differs; a point gone missing', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    const at = new Date().toISOString();
    const object = 'data/3f00';
    for (let n = 0; n < 2; n += 1) archive.state({ damaged: [{ object, repaired: false, at }] });
    expect((await archive.notice('archives.damaged')).text).toContain('repaired from the copy at Wenatchee regional');
    expect((await plane.api.get(archive.path, archive.agency.apiKey)).body.condition).toBe('attention');
    archive.state({ damaged: [{ object, repaired: true, at }] });
    await archive.notice('archives.repaired');
    expect(await count(archive, 'archives.damaged')).toBe(1);

    const checks = [{ name: 'permits', passed: false, found: '0, at least 1' }];
    const proof = { state: 'failed' as const, at, seconds: 3, checks, failure };
    const point = await archive.kept({ proof, clockDiffers: true, claimedAt: '2031-01-01T00:00:00.000Z' });
    archive.point({ ...point.said });
    expect((await archive.notice('archives.proof-failed')).text).toContain('permits: 0, at least 1');
    await archive.notice('archives.clock-differs');
    archive.point({ ...point.said, forgottenAt: at, forgottenBecause: 'missing' });
    await archive.notice('archives.point-missing');
    expect(await count(archive, 'archives.proof-failed')).toBe(1);
  });

  it('what the site alarms about, once for as long as it lasts, and the files that lie ready there', async () => {
    const archive = await ArchivedWorkload.make(plane, { standingCopy: true });
    const since = new Date().toISOString();
    const alarm = (code: ArchiveAlarm['code']) => ({
      code,
      since,
      what: `It says ${code}.`,
    });
    const standing = { path: '/srv/standing', snapshotId: null, receivedAt: since, restoredAt: since, failure: null };
    archive.state({ alarms: [alarm('check-failed')] });
    expect((await archive.notice('archives.check-failed')).text).toContain('It says check-failed.');
    archive.state({ alarms: [alarm('retention-failed')] });
    expect((await archive.notice('archives.retention-failed')).text).toContain('It says retention-failed. Since ');
    expect((await plane.api.get(archive.path, archive.agency.apiKey)).body.condition).toBe('attention');
    archive.state({ alarms: [alarm('password-missing'), alarm('late')], standing });
    for (let n = 0; n < 2; n += 1)
      archive.state({ alarms: [alarm('password-missing'), alarm('source-silent')], standing });
    await archive.notice('archives.password-missing');
    await archive.notice('archives.silent');
    const shown = await plane.api.get(archive.path, archive.agency.apiKey);
    expect(shown.body).toMatchObject({ condition: 'unknown', standing: { path: '/srv/standing' } });
    expect(shown.body.policy['standingCopy']).toBe(true);
    expect([await count(archive, 'archives.password-missing'), await count(archive, 'archives.late')]).toEqual([1, 0]);
  });

  it('no recovery point within twice the period, once a day, until there is one', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const back = (hours: number) =>
      plane.api.rows(`UPDATE archive SET expected_since = now() - make_interval(hours => $2::int) WHERE id = $1`, [
        archive.id,
        hours,
      ]);
    await back(47);
    await watch.handle();
    expect(await count(archive, 'archives.late')).toBe(0);
    await back(49);
    for (let n = 0; n < 2; n += 1) await watch.handle();
    expect((await archive.notice('archives.late')).severity).toBe('alarm');
    expect(await count(archive, 'archives.late')).toBe(1);
    archive.state();
    await plane.until(archive.path, archive.agency.apiKey, ({ late, condition }) => late && condition === 'late');
    archive.run({ state: 'partial', ...ended() });
    await plane.until(archive.path, archive.agency.apiKey, ({ late }) => !late);
    await back(49);
    await watch.handle();
    expect(await count(archive, 'archives.late')).toBe(1);
  });

  it('an agent that its site has not heard for an hour, and a second copy that is behind', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    await watch.handle();
    expect([await count(archive, 'archives.silent'), await count(archive, 'archives.copy-behind')]).toEqual([0, 0]);
    await plane.api.rows(`UPDATE agent_site SET seen_at = now() - interval '61 minutes' WHERE agent_id = $1`, [
      archive.agent.id,
    ]);
    const copy = { missingObjects: 3, missingBytes: 9_000, lookedAt: new Date().toISOString(), failure: null };
    const hours = (n: number) => new Date(Date.now() - n * 3_600_000).toISOString();
    archive.state({ copy: { ...copy, completeUntil: hours(72) } });
    await archive.kept({ receivedAt: hours(49) });
    for (let n = 0; n < 2; n += 1) await watch.handle();
    expect((await archive.notice('archives.silent')).title).toContain('its agent is silent');
    expect((await archive.notice('archives.copy-behind')).text).toContain('complete up to');
    expect([await count(archive, 'archives.silent'), await count(archive, 'archives.copy-behind')]).toEqual([1, 1]);
    archive.state({ copy: { ...copy, missingObjects: 0, missingBytes: 0, completeUntil: hours(0) } });
    await plane.until(archive.path, archive.agency.apiKey, ({ copy: now }) => now?.['missingObjects'] === 0);
    await watch.handle();
    const [row] = await plane.api.rows(`SELECT copy_told_at FROM archive WHERE id = $1`, [archive.id]);
    expect(row).toEqual({ copy_told_at: null });
  });

  it('an archive that its site refuses or cannot keep', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { order } = await plane.metro.ordered(ensureArchiveOrder, ({ archiveId }) => archiveId === archive.id);
    const refusal = { kind: ensureArchiveOrder.kind, code: 'vault.full', message: 'The vault has no room.' };
    plane.metro.say(orderFailed, refusal, { tenantId: archive.agency.id, orderId: order.id });
    expect((await archive.notice('archives.refused')).text).toContain('could not: The vault has no room. (vault.full)');
    const shown = await plane.api.get(archive.path, archive.agency.apiKey);
    expect(shown.body).toMatchObject({ state: 'failed', condition: 'failed', failure: { code: 'vault.full' } });
    archive.state();
    await plane.until(archive.path, archive.agency.apiKey, ({ state }) => state === 'active');
    archive.state({ state: 'failed', failure });
    expect((await archive.notice('archives.failed')).severity).toBe('alarm');
  });

  it('a second copy that its site refuses', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    const { order } = await plane.regional.ordered(keepCopyOrder, ({ archiveId }) => archiveId === archive.id);
    const refusal = { kind: keepCopyOrder.kind, code: 'vault.full', message: 'The vault has no room.' };
    plane.regional.say(orderFailed, refusal, { tenantId: archive.agency.id, orderId: order.id });
    expect((await archive.notice('archives.refused')).text).toMatch(
      /^Wenatchee regional was asked to keep its second copy/,
    );
    expect((await plane.api.get(archive.path, archive.agency.apiKey)).body).toMatchObject({
      state: 'preparing',
      failure: null,
    });
  });

  it('a suspected mass change with its numbers: one person may call it false, two release it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { apiKey, owner } = archive.agency;
    const good = await archive.kept();
    const change = archive.massChange({ lastGood: good.said.snapshotId });
    const notice = await archive.notice('archives.mass-change');
    expect(notice.text).toContain('900 files were removed; usual are 3, at most 60');
    expect(notice.text.toLowerCase()).not.toContain('ransom');
    const path = `${archive.path}/changes/${change.changeId}`;
    expect((await plane.api.get(path, apiKey)).body).toMatchObject({ state: 'suspected', lastGoodPointId: good.id });
    expect((await plane.api.get(archive.path, apiKey)).body).toMatchObject({ openChanges: 1 });
    const judge = (verdict: string, token: string) => plane.api.post(`${path}/verdict`, { verdict }, token);
    const operator = await plane.api.member(archive.agency, 'operator');
    const declarer = await plane.api.member(archive.agency, 'operator', true);
    expect((await judge('false-positive', apiKey)).body.code).toBe('archive.person-needed');
    expect((await judge('dealt-with', operator.token)).body.code).toBe('archive.authority-needed');
    expect((await judge('dealt-with', owner)).body).toMatchObject({
      releaseAskedBy: { name: expect.stringContaining('Ada Clerk') },
      verdict: null,
    });
    await archive.notice('archives.release-asked');
    expect((await judge('dealt-with', owner)).body.code).toBe('archive.second-person-needed');
    const mine = ({ changeId }: { changeId: string }) => changeId === change.changeId;
    expect((await judge('dealt-with', declarer.token)).body).toMatchObject({ verdict: 'dealt-with' });
    expect((await plane.metro.ordered(judgeChangeOrder, mine)).payload.verdict).toBe('dealt-with');
    expect((await judge('false-positive', owner)).body.code).toBe('mass-change.judged');
    archive.massChange({ changeId: change.changeId, state: 'dealt-with' });
    // A late word does not open it again.
    archive.massChange({ changeId: change.changeId });
    const other = archive.massChange();
    await plane.until(`${archive.path}/changes`, apiKey, ({ items }) => items.length === 2);
    expect((await plane.api.get(path, apiKey)).body.state).toBe('dealt-with');
    const said = await plane.api.post(
      `${archive.path}/changes/${other.changeId}/verdict`,
      { verdict: 'false-positive' },
      operator.token,
    );
    expect(said).toMatchObject({ status: 202, body: { verdict: 'false-positive' } });
    expect(await archive.audited()).toContain('archive.change-suspected');
  });

  it('what people take away is told each time: the larger deed does not hide behind a small one of the same hour', async () => {
    const canaries = ['/srv/share/a', '/srv/share/b', '/srv/share/c'];
    const archive = await ArchivedWorkload.make(plane, { canaries });
    const { apiKey: token, owner } = archive.agency;
    const change = (body: object) => plane.api.call('PATCH', archive.path, { token, body });
    const texts = async (kind: string): Promise<string[]> => {
      const { items } = await plane.until('/v1/notices', token, (body) => {
        const told = (body.items as readonly { kind: string; repeats: number }[]).filter((one) => one.kind === kind);
        return told.length + told.reduce((sum, { repeats }) => sum + repeats, 0) === 2;
      });
      return items.filter((one: { kind: string }) => one.kind === kind).map(({ text }: { text: string }) => text);
    };
    await change({ canaries: canaries.slice(1) });
    await change({ canaries: [] });
    expect(await texts('archives.canaries-removed')).toContainEqual(expect.stringContaining('/srv/share/c'));
    await change({ retention: 'daily for a month' });
    await change({ retention: 'daily for a day' });
    expect(await texts('archives.retention-shortened')).toContainEqual(expect.stringContaining('to "daily for a day"'));
    const since = '2026-11-20T08:00:00.000Z';
    for (const keys of [false, true]) await plane.api.post(`${archive.path}/undo-removals`, { since, keys }, owner);
    expect(await texts('archives.removals-undone')).toContainEqual(expect.stringContaining('open the archive again'));
    for (const hours of [1, 72]) await plane.api.post(`${archive.path}/exit`, { hours }, token);
    expect(await texts('archives.exit-allowed')).toHaveLength(2);
    const first = archive.massChange();
    const seen = (signal: 'canary' | 'wrong-contents') =>
      ({ signal, value: 1, usual: null, limit: 0, what: `It saw ${signal}.` }) as const;
    archive.massChange({ ...first, signals: [...first.signals, seen('canary')] });
    archive.massChange({ ...first, signals: [...first.signals, seen('canary'), seen('wrong-contents')] });
    expect(await texts('archives.mass-change-seen')).toContainEqual(expect.stringContaining('It saw wrong-contents.'));
  });
});
