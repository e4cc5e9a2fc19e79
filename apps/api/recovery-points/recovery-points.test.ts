import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askFile, askTree, dropPointOrder, dropResult, holdPointOrder, type TreeEntry } from '#contracts/archive';
import { waitFor } from '#libs/platform/clock';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';
import { CutShort } from '#test/scripted-site';

describe('recovery points', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const ago = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString();
  const remove = (path: string, token: string) => plane.api.call('DELETE', path, { token });

  it('are paged with age, size, what changed and proof; the one before the mistake is found', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    for (const minutes of [60, 120, 180]) archive.point({ receivedAt: ago(minutes), part: 'permits' });
    const checks = [{ name: 'files', passed: true, found: '1200 of 1200 as they were' }];
    const proof = { state: 'proven' as const, at: ago(200), seconds: 12.5, checks, failure: null };
    const oldest = await archive.kept({ receivedAt: ago(240), proof });
    archive.point({ receivedAt: ago(300), forgottenAt: ago(1), forgottenBecause: 'retention' });
    const path = `${archive.path}/recovery-points`;
    await plane.until(`${path}?forgotten=true`, token, ({ items }) => items.length === 5);
    const first = await plane.api.get(`${path}?limit=3`, token);
    expect(first.body.items.map(({ ageSeconds }) => Math.round(ageSeconds / 3_600))).toEqual([1, 2, 3]);
    const rest = await plane.api.get(`${path}?limit=3&cursor=${first.body.nextCursor}`, token);
    expect(rest.body).toMatchObject({
      items: [
        {
          id: oldest.id,
          bytes: 5_000_000,
          change: { filesRemoved: 1 },
          proof: { state: 'proven', seconds: 12.5, checks },
        },
      ],
      nextCursor: null,
    });
    const before = await plane.api.get(`${path}?limit=1&before=${ago(150)}`, token);
    expect(Math.round(before.body.items[0]!.ageSeconds / 3_600)).toBe(3);
    expect((await plane.api.get(`${path}?part=permits`, token)).body.items).toHaveLength(3);
    const all = await plane.api.get(`${path}?forgotten=true`, token);
    expect(all.body.items.at(-1)).toMatchObject({ forgottenBecause: 'retention' });
    expect((await plane.api.get(archive.path, token)).body).toMatchObject({ points: 4 });
  });

  it('a folder is read from the site page by page, in the agency’s name', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    const point = await archive.kept();
    const names = ['a', 'b', 'c', 'd', 'e', '…é'];
    plane.metro.answers.set(askTree.kind, (payload, tenantId) => {
      const { path, after, limit, snapshotId } = askTree.payload.parse(payload);
      if (tenantId !== archive.agency.id || snapshotId !== point.said.snapshotId || path !== '/srv/share')
        return undefined;
      const rest = names.filter((name) => after === null || name > after);
      const entries = rest
        .slice(0, limit)
        .map((name): TreeEntry => ({ name, type: 'file', bytes: 7, modifiedAt: null }));
      return { entries, more: rest.length > limit };
    });
    const seen: string[] = [];
    for (let cursor = ''; ;) {
      const { body } = await plane.api.get(`${point.path}/tree?path=/srv/share&limit=4${cursor}`, token);
      seen.push(...body.items.map(({ name }) => name));
      if (body.nextCursor === null) break;
      cursor = `&cursor=${body.nextCursor}`;
    }
    expect(seen).toEqual(names);
    expect((await plane.api.get(`${point.path}/tree?path=/etc`, token)).status).toBe(404);
    for (const wrong of ['../etc', '/srv/../etc', '/a%00b']) {
      expect((await plane.api.get(`${point.path}/tree?path=${wrong}`, token)).status).toBe(400);
    }
    // Eight of an agency at once; a place is free again once it is answered.
    const gate = Promise.withResolvers<void>();
    plane.metro.answers.set(askTree.kind, () => gate.promise.then(() => ({ entries: [], more: false })));
    const [ask, before] = [() => plane.api.get(`${point.path}/tree`, token), plane.metro.questions.length];
    const eight = Array.from({ length: 8 }, ask);
    await waitFor('eight questions', () => plane.metro.questions.length === before + 8, {
      timeoutMs: 20_000,
      everyMs: 5,
    });
    expect(await ask()).toMatchObject({ status: 429, body: { code: 'site.too-many-questions' } });
    gate.resolve();
    expect((await Promise.all(eight)).map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect((await ask()).status).toBe(200);
    await plane.metro.cut();
    const lost = await plane.api.get(`${point.path}/tree`, token);
    expect(lost).toMatchObject({ status: 503, body: { code: 'site.unreachable' } });
    await plane.metro.open();
  });

  it('200 with the bytes of one file, and the audit log has who took it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const point = await archive.kept();
    const file = Buffer.alloc(300_000, 'permit ');
    plane.metro.answers.set(askFile.kind, ({ path }) => (path === '/srv/Plan "B".pdf' ? file : undefined));
    const ask = (path: string, token: string) =>
      fetch(`${plane.api.url}${point.path}/file?path=${encodeURIComponent(path)}`, {
        headers: { authorization: `Bearer ${token}` },
      });
    const answer = await ask('/srv/Plan "B".pdf', archive.agency.apiKey);
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': String(file.length),
      'content-disposition': `attachment; filename*=UTF-8''Plan%20%22B%22.pdf`,
      'x-content-type-options': 'nosniff',
    });
    expect(
      createHash('sha256')
        .update(Buffer.from(await answer.arrayBuffer()))
        .digest('hex'),
    ).toBe(createHash('sha256').update(file).digest('hex'));
    expect(await archive.audited()).toEqual(['archive.created', 'recovery-point.file-taken']);
    expect((await ask('/none', archive.agency.apiKey)).status).toBe(404);
    // What breaks off never looks whole.
    plane.metro.answers.set(askFile.kind, () => new CutShort(file.subarray(0, 70_000), file.length));
    await expect(ask('/srv/half', archive.agency.apiKey).then((half) => half.arrayBuffer())).rejects.toThrow();
    plane.metro.answers.set(askFile.kind, () => ({ status: 409, body: { code: 'archive.busy', message: 'Later.' } }));
    expect(await (await ask('/srv/busy', archive.agency.apiKey)).json()).toMatchObject({
      status: 409,
      code: 'archive.busy',
    });
    const reading = await plane.api.apiKey(archive.agency.owner, ['archives:read']);
    expect((await ask('/srv/Plan "B".pdf', reading)).status).toBe(403);
    const held = await ArchivedWorkload.make(plane, { keyMode: 'customer-held' });
    const theirs = await held.kept();
    expect(await plane.api.get(`${theirs.path}/file?path=/x`, held.agency.apiKey)).toMatchObject({
      status: 409,
      body: { code: 'archive.key-customer-held' },
    });
  });

  it('a hold is ordered and kept on record; only a person with the authority lifts it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { owner, apiKey } = archive.agency;
    const point = await archive.kept();
    const { snapshotId } = point.said;
    const because = 'Smith v. Town of Elm';
    const held = await plane.api.post(`${point.path}/hold`, { because }, apiKey);
    expect(held).toMatchObject({ status: 202, body: { hold: { because, atSite: false } } });
    const mine = (p: { archiveId: string }) => p.archiveId === archive.id;
    expect((await plane.metro.ordered(holdPointOrder, mine)).payload).toMatchObject({ snapshotId, because });
    archive.point({ ...point.said, heldBecause: because });
    await plane.until(point.path, apiKey, ({ hold }) => hold?.atSite === true);
    expect((await plane.api.post(`${point.path}/hold`, { because }, apiKey)).body.code).toBe('recovery-point.held');
    expect((await plane.api.post(`${point.path}/drop`, { because }, owner)).body.code).toBe('recovery-point.held');
    const operator = await plane.api.member(archive.agency, 'operator');
    expect((await remove(`${point.path}/hold`, apiKey)).body.code).toBe('archive.person-needed');
    expect((await remove(`${point.path}/hold`, operator.token)).body.code).toBe('archive.authority-needed');
    expect(await remove(`${point.path}/hold`, owner)).toMatchObject({ status: 202, body: { hold: null } });
    await plane.metro.ordered(holdPointOrder, (p) => mine(p) && p.because === null);
    expect((await remove(`${point.path}/hold`, owner)).body.code).toBe('recovery-point.not-held');
    const [kept] = await plane.api.rows(
      `SELECT because, lifted_by->>'kind' AS by FROM archive_hold WHERE point_id = $1`,
      [point.id],
    );
    expect(kept).toEqual({ because, by: 'member' });
  });

  it('dropping one before its time takes two people, never a key, and the vault may still hold it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { owner, apiKey } = archive.agency;
    const point = await archive.kept();
    const because = 'It holds a file that a court ordered to be deleted';
    const ask = (token: string) => plane.api.post(`${point.path}/drop`, { because }, token);
    const approve = (token: string) => plane.api.post(`${point.path}/drop/approve`, undefined, token);
    const [operator, declarer] = [
      await plane.api.member(archive.agency, 'operator'),
      await plane.api.member(archive.agency, 'operator', true),
    ];
    expect((await ask(apiKey)).body.code).toBe('archive.person-needed');
    expect((await ask(operator.token)).body.code).toBe('archive.authority-needed');
    expect((await approve(owner)).body.code).toBe('drop-request.none');
    expect(await ask(declarer.token)).toMatchObject({ status: 202, body: { drop: { state: 'asked', because } } });
    await archive.notice('archives.drop-asked');
    expect((await ask(owner)).body.code).toBe('drop-request.open');
    // Not the same person, nor a key that any of them made.
    expect((await approve(declarer.token)).body.code).toBe('archive.second-person-needed');
    expect((await approve(apiKey)).body.code).toBe('archive.person-needed');
    expect(
      plane.metro.orders.filter(({ kind, tenantId }) => kind === dropPointOrder.kind && tenantId === archive.agency.id),
    ).toEqual([]);
    expect((await approve(owner)).body).toMatchObject({ drop: { state: 'approved' } });
    const { payload } = await plane.metro.ordered(dropPointOrder, ({ archiveId }) => archiveId === archive.id);
    expect(payload).toMatchObject({
      snapshotId: point.said.snapshotId,
      asked: expect.stringContaining('Member operator'),
      approved: expect.stringContaining('Ada Clerk'),
    });
    const { dropId, snapshotId } = payload;
    archive.say(dropResult, { ...archive.ref, dropId, snapshotId, state: 'retained', failure: null });
    await plane.until(point.path, apiKey, ({ drop }) => drop.state === 'retained');
    expect((await archive.notice('archives.drop-ended')).text).toContain('the vault holds everything for 30 days');

    // Who asked must still have the authority when another approves.
    const leaving = await plane.api.member(archive.agency, 'operator', true);
    expect((await ask(leaving.token)).status).toBe(202);
    await plane.api.call('PATCH', `/v1/members/${leaving.id}`, { token: owner, body: { mayDeclare: false } });
    expect((await approve(owner)).body.code).toBe('archive.asker-gone');
    expect((await remove(`${point.path}/drop`, owner)).status).toBe(200);

    // Withdrawn, expired, and asked again.
    expect((await ask(owner)).status).toBe(202);
    expect((await remove(`${point.path}/drop`, declarer.token)).body).toMatchObject({ drop: { state: 'withdrawn' } });
    expect((await ask(owner)).status).toBe(202);
    await plane.api.rows(`UPDATE drop_request SET expires_at = now() WHERE state = 'asked' AND point_id = $1`, [
      point.id,
    ]);
    expect((await plane.api.get(point.path, apiKey)).body.drop.state).toBe('expired');
    expect((await approve(declarer.token)).body.code).toBe('drop-request.none');
    expect((await ask(owner)).status).toBe(202);
    expect((await approve(declarer.token)).status).toBe(202);
    const again = await plane.metro.ordered(dropPointOrder, (p) => p.archiveId === archive.id && p.dropId !== dropId);
    archive.say(dropResult, { ...archive.ref, dropId: again.payload.dropId, snapshotId, state: 'done', failure: null });
    archive.point({ ...point.said, forgottenAt: ago(0), forgottenBecause: 'two-people' });
    await plane.until(
      point.path,
      apiKey,
      ({ drop, forgottenBecause }) => drop.state === 'done' && forgottenBecause === 'two-people',
    );
    expect((await ask(owner)).body.code).toBe('recovery-point.gone');
    const actions = await archive.audited();
    expect(actions.filter((action) => action.startsWith('recovery-point.drop-'))).toEqual([
      'recovery-point.drop-asked',
      'recovery-point.drop-approved',
      'recovery-point.drop-retained',
      'recovery-point.drop-asked',
      'recovery-point.drop-withdrawn',
      'recovery-point.drop-asked',
      'recovery-point.drop-withdrawn',
      'recovery-point.drop-asked',
      'recovery-point.drop-asked',
      'recovery-point.drop-approved',
      'recovery-point.drop-done',
    ]);
  });
});
