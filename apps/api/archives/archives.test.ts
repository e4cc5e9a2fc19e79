import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  allowExitOrder,
  cancelArchiveWorkOrder,
  endArchiveOrder,
  ensureArchiveOrder,
  keepCopyOrder,
  keyUseResult,
  rotateKeysOrder,
  runArchiveOrder,
} from '#contracts/archive';
import { AGENT_AUTHORIZATION_SCHEME, agentProof } from '#contracts/sites';
import { signDocument } from '#libs/link';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane, type EnrolledAgent } from '#test/control-plane';

describe('archives', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const workload = async (kind = 'files') => {
    const agency = await plane.api.agency();
    const agent = await plane.enrol(agency);
    const { body } = await plane.api.post('/v1/workloads', { kind, name: 'share', agentId: agent.id }, agency.apiKey);
    return { agency, agent, id: body.id as string };
  };
  const change = (archive: ArchivedWorkload, body: object, token = archive.agency.apiKey) =>
    plane.api.call('PATCH', archive.path, { token, body });

  it('202: all but the key mode has a default, and words stand beside the numbers', async () => {
    const { agency, id } = await workload();
    const made = await plane.api.post('/v1/archives', { workloadId: id, keyMode: 'customer-held' }, agency.apiKey);
    expect(made).toMatchObject({
      status: 202,
      body: {
        state: 'preparing',
        source: 'files',
        keyModeMeans: expect.stringContaining('cannot be read by anybody, ever'),
        policy: {
          schedule: { every: 'day', at: '22:00' },
          // A town in Vermont.
          timeZone: 'America/New_York',
          retention: { hours: 24, days: 31, weeks: 0, months: 84, years: 0 },
          minimumAgeDays: 30,
        },
        scheduleInWords: 'every day at 22:00 (America/New_York)',
        retentionInWords: 'hourly for a day, daily for a month, monthly for seven years',
        siteName: 'Olympia metro',
        secondSiteId: null,
        warnings: [expect.stringContaining('Only one site holds a copy')],
        points: 0,
        lastRun: null,
      },
    });
    const { payload } = await plane.metro.ordered(ensureArchiveOrder, (p) => p.workloadId === id);
    expect(payload).toMatchObject({ keyMode: 'customer-held', workloadName: 'share', paused: false, second: null });
    // A site that has not been updated yet knows no such field, and would refuse all of it.
    expect(payload).not.toHaveProperty('former');
    const again = await plane.api.post('/v1/archives', { workloadId: id, keyMode: 'escrowed' }, agency.apiKey);
    expect(again).toMatchObject({ status: 409, body: { code: 'archive.exists', facts: { archiveId: made.body.id } } });
    const list = await plane.api.get(`/v1/archives?workloadId=${id}`, agency.apiKey);
    expect(list.body.items.map((one: { id: string }) => one.id)).toEqual([made.body.id]);
  });

  it('400 without a key mode, and for words that are not understood; 422 for checks where there are no dumps', async () => {
    const { agency, id } = await workload();
    const make = (body: object) => plane.api.post('/v1/archives', { workloadId: id, ...body }, agency.apiKey);
    expect(await make({})).toMatchObject({ status: 400, body: { errors: [{ pointer: '/keyMode' }] } });
    const words = await make({ keyMode: 'escrowed', retention: 'for ever' });
    expect(words.status).toBe(400);
    expect(JSON.stringify(words.body)).toContain('is not understood: say it like');
    expect((await make({ keyMode: 'escrowed', retention: { days: 0 } })).status).toBe(400);
    expect((await make({ keyMode: 'escrowed', timeZone: 'Elm/Street' })).status).toBe(400);
    const checks = [{ name: 'permits', database: 'permits', sql: 'SELECT count(*) FROM permit', atLeast: 1 }];
    expect(await make({ keyMode: 'escrowed', checks })).toMatchObject({
      status: 422,
      body: { code: 'archive.checks-not-possible' },
    });
    const twice = { siteId: plane.metro.id, secondSiteId: plane.metro.id };
    expect(await make({ keyMode: 'escrowed', ...twice })).toMatchObject({
      status: 422,
      body: { code: 'archive.same-site' },
    });
    const made = await make({ keyMode: 'escrowed', retention: 'daily for two weeks', schedule: { every: 'hour' } });
    expect(made.body).toMatchObject({ policy: { retention: { days: 14, months: 0 } }, scheduleInWords: 'every hour' });
  });

  it('422: files and commands cannot be replicated, and what is archived is not removed', async () => {
    const { agency, id } = await workload('command');
    const path = `/v1/workloads/${id}`;
    for (const [at, body] of [
      ['protection', { mode: 'available' }],
      ['preflights', undefined],
    ] as const) {
      expect(await plane.api.post(`${path}/${at}`, body, agency.apiKey)).toMatchObject({
        status: 422,
        body: { code: 'protection.kind-not-replicated', detail: expect.stringContaining('Archive it instead') },
      });
    }
    expect((await plane.api.get(path, agency.apiKey)).body).toMatchObject({ kind: 'command', connection: null });
    await plane.api.post('/v1/archives', { workloadId: id, keyMode: 'escrowed' }, agency.apiKey);
    const removed = await plane.api.call('DELETE', path, { token: agency.apiKey });
    expect(removed).toMatchObject({ status: 409, body: { code: 'workload.archived' } });
  });

  it('changes reach the site; the minimum age never shrinks, and people hear when less is kept or all is paused', async () => {
    const archive = await ArchivedWorkload.make(plane);
    expect(await change(archive, { minimumAgeDays: 29 })).toMatchObject({
      status: 409,
      body: { code: 'archive.minimum-age-shrinks' },
    });
    const answer = await change(archive, { retention: 'daily for a week', minimumAgeDays: 60, excludes: ['*.tmp'] });
    expect(answer).toMatchObject({ status: 202, body: { retentionInWords: 'daily for a week' } });
    const mine = ({ archiveId }: { archiveId: string }) => archiveId === archive.id;
    await plane.metro.ordered(
      ensureArchiveOrder,
      (p) =>
        mine(p) && p.policy.retention.days === 7 && p.policy.minimumAgeDays === 60 && p.policy.excludes.length === 1,
    );
    const before = { hours: 24, days: 31, weeks: 0, months: 84, years: 0 };
    const { formerRetention: former, keepsLessFrom } = answer.body;
    expect(former).toEqual({ retention: before, until: keepsLessFrom });
    expect(Math.round((new Date(String(keepsLessFrom)).getTime() - Date.now()) / 86_400_000)).toBe(60);
    const shorter = await plane.metro.ordered(ensureArchiveOrder, (p) => mine(p) && p.policy.retention.days === 7);
    expect(shorter.payload.former).toEqual(former);
    const told = await archive.notice('archives.retention-shortened');
    expect(told.text).toContain(`From ${String(keepsLessFrom)} what no rule keeps any more is removed`);
    expect(told.text).toContain(
      'from "hourly for a day, daily for a month, monthly for seven years" to "daily for a week"',
    );
    // Some of it back: what was said stands; all of it: nothing has changed.
    expect((await change(archive, { retention: 'daily for two weeks' })).body.formerRetention).toEqual(former);
    expect((await change(archive, { retention: before })).body).toMatchObject({
      formerRetention: null,
      keepsLessFrom: null,
    });
    await plane.metro.ordered(ensureArchiveOrder, (p) => mine(p) && !('former' in p) && p.policy.minimumAgeDays === 60);
    expect((await change(archive, { paused: true })).body).toMatchObject({ paused: true });
    await plane.metro.ordered(ensureArchiveOrder, (p) => mine(p) && p.paused);
    await archive.notice('archives.paused');
    const run = () => plane.api.post(`${archive.path}/runs`, undefined, archive.agency.apiKey);
    expect(await run()).toMatchObject({ status: 409, body: { code: 'archive.paused' } });
    await change(archive, { paused: false });
    expect((await run()).status).toBe(202);
    expect(await archive.audited()).toEqual([
      'archive.created',
      'archive.changed',
      'archive.changed',
      'archive.changed',
      'archive.changed',
      'archive.changed',
      'archive.run-asked',
    ]);
  });

  it('a second copy is ordered at both sites, also when one of them moves, and neither site is retired under it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const mine = ({ archiveId }: { archiveId: string }) => archiveId === archive.id;
    const secondSiteId = plane.regional.id;
    expect((await change(archive, { secondSiteId })).body).toMatchObject({ secondSiteName: 'Wenatchee regional' });
    const first = await plane.metro.ordered(ensureArchiveOrder, (p) => mine(p) && p.second !== null);
    expect(first.payload.second).toMatchObject({ siteId: secondSiteId });
    const copy = await plane.regional.ordered(keepCopyOrder, mine);
    expect(copy.payload).toMatchObject({ first: { siteId: plane.metro.id }, minimumAgeDays: 30 });
    expect(await change(archive, { secondSiteId: plane.metro.id })).toMatchObject({ status: 409 });
    const gateway = { host: '127.0.0.1', port: 7_555, certificateFingerprint: plane.regional.fingerprint };
    await plane.api.call('PATCH', `/v1/staff/sites/${secondSiteId}`, { token: plane.staff, body: { gateway } });
    await plane.metro.ordered(ensureArchiveOrder, (p) => mine(p) && p.second?.port === 7_555);
    const retired = await plane.api.post(`/v1/staff/sites/${secondSiteId}/retire`, undefined, plane.staff);
    expect(retired).toMatchObject({ status: 409, body: { code: 'site.in-use' } });
  });

  it('ending orders both sites, lets nothing be changed any more, and is over when the site says so', async () => {
    const archive = await ArchivedWorkload.make(plane, { secondSiteId: plane.regional.id });
    const token = archive.agency.apiKey;
    archive.state();
    await plane.until(archive.path, token, ({ state }) => state === 'active');
    expect((await plane.api.call('DELETE', archive.path, { token })).body).toMatchObject({ state: 'ending' });
    for (const site of [plane.metro, plane.regional]) {
      const { payload } = await site.ordered(endArchiveOrder, ({ archiveId }) => archiveId === archive.id);
      expect(payload).not.toHaveProperty('other');
    }
    await archive.notice('archives.ended');
    // Years may go by until then: each site learns when the other moves, and neither order makes it go on.
    const mine = ({ archiveId }: { archiveId: string }) => archiveId === archive.id;
    const ensured = () =>
      plane.metro.orders.filter(
        ({ kind, payload }) => kind === ensureArchiveOrder.kind && payload['archiveId'] === archive.id,
      ).length;
    const before = ensured();
    const moved = async (site: 'metro' | 'regional', port: number) => {
      const gateway = { host: '127.0.0.1', port, certificateFingerprint: plane[site].fingerprint };
      await plane.api.call('PATCH', `/v1/staff/sites/${plane[site].id}`, { token: plane.staff, body: { gateway } });
    };
    await moved('regional', 7_556);
    await plane.metro.ordered(endArchiveOrder, (p) => mine(p) && p.other?.port === 7_556);
    await moved('metro', 7_557);
    await plane.regional.ordered(endArchiveOrder, (p) => mine(p) && p.other?.port === 7_557);
    expect(ensured()).toBe(before);
    // A word that was on its way does not take it back.
    archive.state({ storedBytes: 2_000 });
    await plane.until(archive.path, token, ({ storedBytes, state }) => storedBytes === 2_000 && state === 'ending');
    expect((await change(archive, { paused: true })).body.code).toBe('archive.ending');
    expect((await plane.api.post(`${archive.path}/runs`, undefined, token)).body.code).toBe('archive.ending');
    const workloadPath = `/v1/workloads/${archive.workloadId}`;
    expect((await plane.api.call('DELETE', workloadPath, { token })).status).toBe(409);
    archive.state({ state: 'ended', storedBytes: 0 });
    await plane.until(archive.path, token, ({ endedAt }) => endedAt !== null);
    expect((await plane.api.call('DELETE', workloadPath, { token })).status).toBe(204);
    expect((await plane.api.get(archive.path, token)).body).toMatchObject({ condition: 'ended' });
  });

  it('a run is asked for once, told as it goes, and cancelled', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    const started = await plane.api.post(`${archive.path}/runs`, undefined, token);
    expect(started).toMatchObject({ status: 202, body: { cause: 'request', state: 'waiting' } });
    await plane.metro.ordered(runArchiveOrder, ({ runId }) => runId === started.body.id);
    expect((await plane.api.post(`${archive.path}/runs`, undefined, token)).body.code).toBe('archive-run.open');
    const runId = started.body.id as string;
    const progress = { filesDone: 10, filesTotal: 20, bytesDone: 100, bytesTotal: null, secondsLeft: 5 };
    archive.run({ runId, progress });
    const path = `${archive.path}/runs/${runId}`;
    await plane.until(path, token, (run) => run.state === 'running' && run.progress?.['filesDone'] === 10);
    expect((await plane.api.post(`${path}/cancel`, undefined, token)).status).toBe(202);
    await plane.metro.ordered(cancelArchiveWorkOrder, ({ workId }) => workId === runId);
    archive.run({ runId, state: 'cancelled', endedAt: new Date().toISOString() });
    await plane.until(path, token, ({ state }) => state === 'cancelled');
    // What has ended stays as it ended.
    archive.run({ runId, state: 'running' });
    archive.state({ storedBytes: 3_000 });
    await plane.until(archive.path, token, ({ storedBytes }) => storedBytes === 3_000);
    expect((await plane.api.get(path, token)).body).toMatchObject({ state: 'cancelled', cause: 'request' });
    expect((await plane.api.post(`${path}/cancel`, undefined, token)).body.code).toBe('archive-run.ended');
    for (let n = 0; n < 3; n += 1) archive.run({ dueAt: new Date(Date.now() + n * 1_000).toISOString() });
    await plane.until(`${archive.path}/runs`, token, ({ items }) => items.length === 4);
    const first = await plane.api.get(`${archive.path}/runs?limit=3`, token);
    const rest = await plane.api.get(`${archive.path}/runs?limit=3&cursor=${first.body.nextCursor}`, token);
    expect(rest.body.items.map(({ id }: { id: string }) => id)).toEqual([runId]);
  });

  it('keys are changed and their uses listed; of a customer-held one people are told to fetch the new password', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    expect((await plane.api.post(`${archive.path}/keys/rotate`, undefined, token)).status).toBe(202);
    await plane.metro.ordered(rotateKeysOrder, ({ archiveId }) => archiveId === archive.id);
    const [purpose, at] = ['proof of a recovery point', new Date().toISOString()];
    const use = { ...archive.ref, useId: randomUUID(), purpose, at };
    archive.say(keyUseResult, use);
    archive.say(keyUseResult, use);
    archive.say(keyUseResult, { ...use, useId: randomUUID(), purpose: 'retention' });
    const { items } = await plane.until(`${archive.path}/key-uses`, token, (body) => body.items?.length >= 2);
    expect(items).toHaveLength(2);
    const held = await ArchivedWorkload.make(plane, { keyMode: 'customer-held' });
    const asked = await plane.api.post(`${held.path}/keys/rotate`, undefined, held.agency.apiKey);
    expect(asked.body.next).toMatch(/^mainstay-agent archive password share-/);
    await plane.metro.ordered(rotateKeysOrder, ({ archiveId }) => archiveId === held.id);
    held.state({ keysRotatedAt: new Date().toISOString() });
    expect((await held.notice('archives.key-changed')).severity).toBe('warning');
  });

  it('the way out is opened for so many hours, and people hear of it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const answer = await plane.api.post(`${archive.path}/exit`, { hours: 8 }, archive.agency.apiKey);
    expect(answer).toMatchObject({
      status: 202,
      body: { next: expect.stringMatching(/^mainstay-agent archive exit share-/) },
    });
    const { payload } = await plane.metro.ordered(allowExitOrder, ({ exitId }) => exitId === answer.body.exitId);
    const hours = (new Date(payload.until).getTime() - Date.now()) / 3_600_000;
    expect(Math.round(hours)).toBe(8);
    expect((await archive.notice('archives.exit-allowed')).severity).toBe('warning');
    const reading = await plane.api.apiKey(archive.agency.owner, ['archives:read', 'archives:write']);
    expect((await plane.api.post(`${archive.path}/exit`, {}, reading)).body.code).toBe('scope.missing');
  });

  it('tells the agent which site archives what, until nothing is left of it', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const self = async ({ id, keys }: EnrolledAgent) => {
      const { challenge } = (await plane.api.post('/v1/agents/challenge', undefined)).body;
      const signature = signDocument(agentProof(id, challenge, '/v1/agents/self'), keys.privateKey);
      const authorization = `${AGENT_AUTHORIZATION_SCHEME} ${id}:${challenge}:${signature}`;
      return (await plane.api.call('GET', '/v1/agents/self', { headers: { authorization } })).body.archives;
    };
    const name: unknown = expect.stringMatching(/^share-/);
    const mine = [{ siteId: plane.metro.id, workloadId: archive.workloadId, name, keyMode: 'escrowed' }];
    expect(await self(archive.agent)).toEqual(mine);
    await plane.api.call('DELETE', archive.path, { token: archive.agency.apiKey });
    expect(await self(archive.agent)).toEqual(mine);
    archive.state({ state: 'ended' });
    await plane.until(archive.path, archive.agency.apiKey, ({ state }) => state === 'ended');
    expect(await self(archive.agent)).toEqual([]);
  });
});
