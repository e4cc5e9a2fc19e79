import { afterAll, beforeAll, expect, test } from 'vitest';
import { ArchiveReconciler } from './reconciler.js';
import { CareUnderTest } from './testing/care-under-test.js';

let site: CareUnderTest;

beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site?.stop());

test('of an archive that has ended nothing stays that was seen in its files', async () => {
  const archiveId = await site.archive();
  await site.backup(archiveId, await site.folder({ permit: 'granted' }));
  await site.rows(
    `UPDATE archive_point SET seen = '{"contents":{"looked":9,"wrong":9,"paths":["/permits/1.pdf"]}}', seen_new = true
      WHERE archive_id = $1`,
    [archiveId],
  );
  await site.rows(`UPDATE archive SET state = 'ending' WHERE archive_id = $1`, [archiveId]);
  await site.age(archiveId, 3);
  await site.get(ArchiveReconciler).reconcile(archiveId, new AbortController().signal);
  const points = await site.rows(
    `SELECT a.state, p.seen, p.seen_new, p.forgotten_because FROM archive a JOIN archive_point p USING (archive_id)
      WHERE archive_id = $1`,
    [archiveId],
  );
  expect(points).toEqual([{ state: 'ended', seen: null, seen_new: false, forgotten_because: 'retention' }]);
});
