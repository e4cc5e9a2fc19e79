import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { MassChangeReport, RunSummary } from '#contracts/archive';
import { findPostgres } from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { ProofService } from '../proof/proof.service.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { Changes } from './changes.service.js';

// What a test restore sees, of dumps.
const signal = new AbortController().signal;
let site: CareUnderTest;
let agency: TestServer;

beforeAll(async () => {
  site = await CareUnderTest.start();
  agency = await TestServer.primary(await testFolder('dumps-seen'));
  // A role that the proof's server has, so that the dump needs no roles beside it.
  await agency.sql(`CREATE ROLE proof SUPERUSER`);
  await table('permit', 1_000);
  await table('fee', 100);
  await table('clerk', 1);
}, 60_000);
afterAll(async () => {
  await agency?.remove();
  await site?.stop();
});

async function table(name: string, rows: number): Promise<void> {
  await agency.sql(`CREATE TABLE ${name} AS SELECT n AS id FROM generate_series(1, ${rows}) n`);
  await agency.sql(`ALTER TABLE ${name} OWNER TO proof`);
}

/** What cannot be compressed, as of a dump that was encrypted. */
const dense: RunSummary = {
  filesNew: 1,
  filesChanged: 0,
  filesUnmodified: 0,
  filesRemoved: 0,
  bytesProcessed: 2 ** 24,
  bytesAdded: 2 ** 24,
  bytesAddedPacked: 2 ** 24,
  seconds: 3,
};
const calm = { ...dense, bytesAddedPacked: 2 ** 20 };

/** A run, proven and looked at. @param command left out: the dump of the server's database */
async function run(archiveId: string, summary = calm, command?: readonly string[]): Promise<string> {
  const { binDirectory } = await findPostgres();
  const reach = ['-h', '127.0.0.1', '-p', String(agency.port), '-U', 'postgres'];
  const runId = randomUUID();
  const dump = command ?? [path.join(binDirectory, 'pg_dump'), ...reach, '-Fc', '-Z0', 'postgres'];
  const wish = { runId, part: 'permits', dump: { name: 'permits.dump', command: dump } };
  const snapshotId = await site.backup(archiveId, null, wish);
  await site.rows(`UPDATE archive_run SET result = $2, ended_at = clock_timestamp() WHERE run_id = $1`, [
    runId,
    JSON.stringify({ snapshots: [{ summary }], renamedCount: null, removed: [] }),
  ]);
  await site.get(Changes).look(archiveId);
  await site.get(ProofService).proveNext(signal);
  await site.get(Changes).look(archiveId);
  return snapshotId;
}
const changes = async (archiveId: string) =>
  (await site.results<MassChangeReport>('archive.mass-change')).filter((change) => change.archiveId === archiveId);

test('tables that lost most of their rows are a signal, with their numbers', async () => {
  const archiveId = await site.archive({ source: 'postgresql' });
  await table('water', 50);
  await run(archiveId);
  const good = await run(archiveId);
  await agency.sql(`DELETE FROM permit WHERE id > 10`);
  await agency.sql(`DROP TABLE water`);
  await agency.sql(`TRUNCATE clerk`);
  await run(archiveId, dense);
  const [change] = await changes(archiveId);
  expect(change).toMatchObject({ state: 'suspected', lastGood: good });
  expect(change?.signals.map((one) => one.signal)).toEqual(['entropy', 'rows-lost']);
  expect(change?.signals[1]).toMatchObject({
    value: 2,
    usual: 0,
    what: expect.stringMatching(/^2 of 3 tables lost most of their rows/) as string,
    paths: ['permits: public.water (50 rows → 0)', 'permits: public.permit (1000 rows → 10)'],
  });
}, 90_000);

test('a dump that cannot be loaded any more is a signal, and none where no dump before could', async () => {
  const never = await site.archive({ source: 'postgresql' });
  const junk = ['/bin/echo', 'no dump'];
  await run(never, dense, junk);
  await run(never, dense, junk);
  expect(await changes(never)).toEqual([]);
  const archiveId = await site.archive({ source: 'postgresql' });
  const good = await run(archiveId);
  await run(archiveId, dense, junk);
  expect(await changes(archiveId)).toMatchObject([
    {
      state: 'suspected',
      lastGood: good,
      signals: [{ signal: 'entropy' }, { signal: 'load-failed', value: 1, paths: ['permits'] }],
    },
  ]);
}, 90_000);
