import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CareUnderTest } from '../testing/care-under-test.js';
import { EndArchiveHandler } from './archive.orders.js';
import { JudgeChangeHandler } from './judge-change.order.js';
import { DropPointHandler, HoldPointHandler } from './point.orders.js';

let site: CareUnderTest;
let known: { readonly archiveId: string; readonly workloadId: string; readonly snapshotId: string };

beforeAll(async () => {
  site = await CareUnderTest.start();
  const archiveId = await site.archive();
  const snapshotId = await site.backup(archiveId, await site.folder({ permit: 'granted' }));
  known = { archiveId, workloadId: randomUUID(), snapshotId };
  await site.rows(
    `INSERT INTO archive_change (change_id, archive_id, state, signals) VALUES ($1, $1, 'suspected', '[]')`,
    [archiveId],
  );
});
afterAll(() => site?.stop());

const another = <P>(payload: P) => ({ id: randomUUID(), number: 1, tenantId: randomUUID(), payload });
const rows = () =>
  site.rows(
    `SELECT a.state, p.held_because, c.state AS change, (SELECT count(*) FROM archive_drop) AS drops
       FROM archive a JOIN archive_point p USING (archive_id) JOIN archive_change c USING (archive_id)`,
  );

test.each([
  ['ended', () => site.get(EndArchiveHandler).carryOut(another(known))],
  ['held', () => site.get(HoldPointHandler).carryOut(another({ ...known, because: 'evidence' }))],
  [
    'dropped',
    () => {
      const wish = { ...known, dropId: randomUUID(), asked: 'a clerk', approved: 'another' };
      return site.get(DropPointHandler).carryOut(another(wish));
    },
  ],
  [
    'judged',
    () => {
      const wish = { ...known, changeId: known.archiveId, verdict: 'dealt-with' as const };
      return site.get(JudgeChangeHandler).carryOut(another(wish));
    },
  ],
])("nothing of another agency's archive is %s", async (_, carryOut) => {
  const before = await rows();
  await expect(carryOut()).rejects.toMatchObject({ code: 'archive.not-found' });
  expect(await rows()).toEqual(before);
});
