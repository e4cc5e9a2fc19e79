import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cancelArchiveWorkOrder, restoreOrder, type RestoreReport, restoreResult } from '#contracts/archive';
import { orderFailed } from '#contracts/sites';
import { waitFor } from '#libs/platform/clock';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';

const WITHIN = { timeoutMs: 20_000, everyMs: 20 };

describe('restores', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const told = (archive: ArchivedWorkload, restoreId: string, change: Partial<RestoreReport> = {}) =>
    archive.say(restoreResult, {
      ...archive.ref,
      restoreId,
      state: 'running',
      startedAt: new Date().toISOString(),
      endedAt: null,
      progress: null,
      filesRestored: 0,
      filesSkipped: 0,
      bytesRestored: 0,
      faultCount: 0,
      faults: [],
      failure: null,
      ...change,
    });

  /** The text of an event stream as far as it has come. */
  function follow(path: string, token: string) {
    const stream = { text: '', ended: false, status: 0 };
    const read = async (): Promise<void> => {
      const response = await fetch(`${plane.api.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
      stream.status = response.status;
      for await (const part of response.body!.pipeThrough(new TextDecoderStream())) stream.text += part;
    };
    void read().finally(() => (stream.ended = true));
    return stream;
  }

  it('202: nothing is overwritten unless told; progress and end are told as they come', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    const point = await archive.kept();
    const paths = ['/srv/share/permits', '/srv/share/plan.pdf'];
    const made = await plane.api.post('/v1/restores', { recoveryPointId: point.id, paths }, token);
    expect(made).toMatchObject({
      status: 202,
      body: { state: 'waiting', target: { kind: 'original' }, overwrite: 'never', recoveryPointId: point.id },
    });
    const id = made.body.id as string;
    const { payload } = await plane.metro.ordered(restoreOrder, ({ restoreId }) => restoreId === id);
    expect(payload).toMatchObject({ snapshotId: point.said.snapshotId, paths, overwrite: 'never' });
    const stream = follow(`/v1/restores/${id}/events`, token);
    await waitFor('the stream to begin', () => stream.text.includes('"state":"waiting"'), WITHIN);
    const progress = { filesDone: 1, filesTotal: 2, bytesDone: 5, bytesTotal: 10, secondsLeft: 1 };
    told(archive, id, { progress });
    await waitFor('progress', () => stream.text.includes('"bytesDone":5'), WITHIN);
    const endedAt = new Date().toISOString();
    told(archive, id, { state: 'completed', endedAt, filesRestored: 2, filesSkipped: 1, bytesRestored: 10 });
    await waitFor('the stream to end', () => stream.ended, WITHIN);
    expect(stream.text).toContain('"state":"completed"');
    expect(stream.text).toContain('event: restore');
    // Late words change nothing of what has ended.
    told(archive, id);
    archive.state({ storedBytes: 77 });
    await plane.until(archive.path, token, ({ storedBytes }) => storedBytes === 77);
    expect((await plane.api.get(`/v1/restores/${id}`, token)).body).toMatchObject({
      state: 'completed',
      filesRestored: 2,
      filesSkipped: 1,
    });
    expect((await archive.notice('archives.restore-ended')).text).toContain(
      '1 were there already and left as they are',
    );
    expect((await plane.api.post(`/v1/restores/${id}/cancel`, undefined, token)).body.code).toBe('restore.ended');
    expect((await plane.api.get(`/v1/restores?archiveId=${archive.id}`, token)).body.items).toHaveLength(1);
  });

  it('a run’s progress is streamed, resumed by its number, and not to a stranger', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const { runId } = archive.run();
    const path = `${archive.path}/runs/${runId}`;
    await plane.until(path, archive.agency.apiKey, ({ state }) => state === 'running');
    const stream = follow(`${path}/events`, archive.agency.apiKey);
    const late = follow(`${path}/events?after=1`, archive.agency.owner);
    await waitFor('the stream to begin', () => stream.text.includes('id: 1'), WITHIN);
    archive.run({ runId, state: 'completed', endedAt: new Date().toISOString() });
    await waitFor('both to end', () => stream.ended && late.ended, WITHIN);
    expect([late.text.includes('id: 1\n'), late.text.includes('"state":"completed"')]).toEqual([false, true]);
    const other = await plane.api.agency();
    const refused = await plane.api.get(`${path}/events`, other.apiKey);
    expect([refused.status, refused.body.code]).toEqual([404, 'archive-run.not-found']);
  });

  it('a restore is cancelled, or ends with the site’s reason when it is refused', async () => {
    const archive = await ArchivedWorkload.make(plane);
    const token = archive.agency.apiKey;
    const point = await archive.kept();
    const begin = async () =>
      (await plane.api.post('/v1/restores', { recoveryPointId: point.id }, token)).body.id as string;
    const first = await begin();
    expect((await plane.api.post(`/v1/restores/${first}/cancel`, undefined, token)).status).toBe(202);
    await plane.metro.ordered(cancelArchiveWorkOrder, ({ workId }) => workId === first);
    told(archive, first, { state: 'cancelled', endedAt: new Date().toISOString() });
    await plane.until(`/v1/restores/${first}`, token, ({ state }) => state === 'cancelled');
    const second = await begin();
    const { order } = await plane.metro.ordered(restoreOrder, ({ restoreId }) => restoreId === second);
    const failed = { kind: restoreOrder.kind, code: 'archive.no-such-point', message: 'The snapshot is not there.' };
    plane.metro.say(orderFailed, failed, { tenantId: archive.agency.id, orderId: order.id });
    await plane.until(
      `/v1/restores/${second}`,
      token,
      ({ state, failure }) => state === 'failed' && failure.code === failed.code,
    );
    await archive.notice('archives.refused');
  });

  it('422 for a dump without a folder, 409 for a point that is gone, 429 past twenty, and never by a reading key', async () => {
    const archive = await ArchivedWorkload.make(plane, {}, 'postgresql');
    const token = archive.agency.apiKey;
    const point = await archive.kept({ part: 'permits' });
    const begin = (body: object, by = token) =>
      plane.api.post('/v1/restores', { recoveryPointId: point.id, ...body }, by);
    expect((await begin({})).body.code).toBe('restore.folder-needed');
    expect((await begin({ target: { kind: 'folder', path: '/srv/../etc' } })).status).toBe(400);
    expect((await begin({ target: { kind: 'folder', path: 'relative' } })).status).toBe(400);
    const target = { kind: 'folder', path: '/srv/restored' };
    const reading = await plane.api.apiKey(archive.agency.owner, ['archives:read', 'archives:write']);
    expect((await begin({ target }, reading)).body.code).toBe('scope.missing');
    const auditor = await plane.api.member(archive.agency, 'auditor');
    expect((await begin({ target }, auditor.token)).body.code).toBe('scope.missing');
    const answers = await Promise.all(Array.from({ length: 22 }, () => begin({ target })));
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(20).fill(202), 429, 429]);
    archive.point({ ...point.said, forgottenAt: new Date().toISOString(), forgottenBecause: 'retention' });
    await plane.until(point.path, token, ({ forgottenAt }) => forgottenAt !== null);
    expect((await begin({ target })).body.code).toBe('recovery-point.gone');
  });
});
