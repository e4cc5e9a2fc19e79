import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureArchiveOrder, type MassChangeReport } from '#contracts/archive';
import { ArchivedWorkload } from '#test/archived-workload';
import { ControlPlane } from '#test/control-plane';

// What an agency says of the test restores of its files, and what they saw.
describe('canaries and what test restores saw', () => {
  let plane: ControlPlane;
  beforeAll(async () => {
    plane = await ControlPlane.start();
  });
  afterAll(() => plane.close());

  const canaries = ['/srv/share/do-not-touch.docx', '/srv/share/ü/z.pdf'];
  const change = (archive: ArchivedWorkload, body: object) =>
    plane.api.call('PATCH', archive.path, { token: archive.agency.apiKey, body });

  it('202: reach the site with the order; people hear when one is taken away', async () => {
    const archive = await ArchivedWorkload.make(plane, { keyMode: 'escrowed', canaries });
    const ordered = (wanted: number) =>
      plane.metro.ordered(
        ensureArchiveOrder,
        ({ archiveId, policy }) => archiveId === archive.id && policy.canaries?.length === wanted,
      );
    expect((await ordered(2)).payload.policy.canaries).toEqual(canaries);
    expect((await change(archive, { schedule: { every: 'hour' } })).body).toMatchObject({ policy: { canaries } });
    expect(await change(archive, { canaries: canaries.slice(1) })).toMatchObject({ status: 202 });
    await ordered(1);
    expect((await archive.notice('archives.canaries-removed')).text).toContain(`\n  ${canaries[0]}\n`);
  });

  it('400 for what is no path of a file, or listed twice, or too many', async () => {
    const archive = await ArchivedWorkload.make(plane, { keyMode: 'escrowed' });
    const many = Array.from({ length: 33 }, (_, number) => `/srv/${number}`);
    for (const wrong of [['a.txt'], ['/'], ['/srv/'], ['/srv//a'], ['/srv/./a'], ['/srv/../a'], ['/a', '/a'], many])
      expect([wrong, (await change(archive, { canaries: wrong })).status]).toEqual([wrong, 400]);
    expect((await change(archive, { canaries: ['/srv/.hidden'] })).status).toBe(202);
  });

  it('422 where the site restores no files', async () => {
    const dumps = await ArchivedWorkload.make(plane, { keyMode: 'escrowed' }, 'postgresql');
    const refused = { status: 422, body: { code: 'archive.canaries-not-possible' } };
    expect(await change(dumps, { canaries })).toMatchObject(refused);
    const held = await ArchivedWorkload.make(plane, { keyMode: 'customer-held' });
    expect(await change(held, { canaries })).toMatchObject(refused);
    expect(await change(held, { canaries: [] })).toMatchObject({ status: 202 });
  });

  it('what is left empty stands in no order: a site that has not been updated yet would refuse all of it', async () => {
    const archive = await ArchivedWorkload.make(plane, { canaries: [], rateBytesPerSecond: null });
    const isIts = ({ archiveId }: { archiveId: string }) => archiveId === archive.id;
    const { policy } = (await plane.metro.ordered(ensureArchiveOrder, isIts)).payload;
    for (const field of ['canaries', 'rateBytesPerSecond']) expect(policy).not.toHaveProperty(field);
  });

  it('a suspected change shows each signal with its paths; what a restore sees later is told once more', async () => {
    const archive = await ArchivedWorkload.make(plane, { keyMode: 'escrowed', canaries });
    const { apiKey } = archive.agency;
    const first = archive.massChange();
    const notice = await archive.notice('archives.mass-change');
    expect(notice.title).toContain('an unusual change');
    const canary: MassChangeReport['signals'][number] = {
      ...{ signal: 'canary', value: 1, usual: null, limit: 0, paths: canaries.slice(0, 1) },
      what: '1 of 2 canaries were changed or are gone',
    };
    const wrong: MassChangeReport['signals'][number] = {
      ...{ signal: 'wrong-contents', value: 0.9, usual: 0.01, limit: 0.11, paths: ['/srv/share/plan.pdf'] },
      what: '360 of 400 files that were restored as a test are not what their names promise',
    };
    archive.massChange({ ...first, signals: [...first.signals, canary, wrong] });
    const seen = await archive.notice('archives.mass-change-seen');
    expect(seen).toMatchObject({ severity: 'alarm' });
    expect(seen.text).toContain(`1 of 2 canaries were changed or are gone\n    ${canaries[0]}\n`);
    expect(seen.text).not.toContain('900 files were removed');
    const { body } = await plane.api.get(`${archive.path}/changes/${first.changeId}`, apiKey);
    expect((body.signals as unknown[]).slice(2)).toEqual([canary, wrong]);
  });

  it('a recovery point shows what its proof saw of the contents', async () => {
    const archive = await ArchivedWorkload.make(plane, { keyMode: 'escrowed', canaries });
    const saw = {
      contents: { looked: 400, wrong: 1, paths: ['/srv/share/a.pdf'] },
      canaries: [{ path: canaries[0] ?? '', state: 'unchanged' as const }],
    };
    const proof = { state: 'proven' as const, at: new Date().toISOString(), seconds: 2, checks: [], failure: null };
    const point = await archive.kept({ proof: { ...proof, ...saw } });
    const answer = await plane.api.get(`/v1/recovery-points/${point.id}`, archive.agency.apiKey);
    expect(answer).toMatchObject({ status: 200, body: { proof: saw } });
  });
});
