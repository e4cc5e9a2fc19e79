import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ArchiveReport } from '#contracts/archive';
import { SweepWorkHandler } from './archive.handlers.js';
import { ArchiveReconciler } from './reconciler.js';
import { CareUnderTest } from './testing/care-under-test.js';

let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site?.stop());

test('a failure that nothing is left of is told as over; one whose rotation waits stays', async () => {
  const archiveId = await site.archive();
  const told = async () =>
    (await site.results<ArchiveReport>('archive.state')).filter((each) => each.archiveId === archiveId).at(-1);
  const fail = (rotationId: string | null) =>
    site.rows(
      `UPDATE archive SET failure = '{"code":"archive.restic","message":"restic failed"}', rotation_id = $2,
                      next_run_at = now() + interval '1 hour', retry_at = now() WHERE archive_id = $1`,
      [archiveId, rotationId],
    );
  const reconcile = () => site.get(ArchiveReconciler).reconcile(archiveId, new AbortController().signal);
  const failure = async () => (await site.rows(`SELECT failure FROM archive WHERE archive_id = $1`, [archiveId]))[0];

  await fail('00000000-0000-4000-8000-000000000001');
  await site.rows(`UPDATE archive SET work_id = archive_id, work_kind = 'run' WHERE archive_id = $1`, [archiveId]);
  await reconcile();
  expect(await failure()).toMatchObject({ failure: { code: 'archive.restic' } });

  await fail(null);
  await site.get(SweepWorkHandler).handle();
  await reconcile();
  expect(await failure()).toEqual({ failure: null });
  expect(await told()).toMatchObject({ failure: null });
});
