import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ArchivePolicy, PointReport, Proof } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { findPostgres, isAlive } from '#libs/platform/postgres';
import { testFolder, TestServer } from '#libs/platform/postgres/testing';
import { Points, type PointRow } from '../points/points.service.js';
import { CareUnderTest } from '../testing/care-under-test.js';
import { DumpProof } from './dump-proof.js';
import { ProofQueue } from './proof-queue.js';
import { ProofScratch } from './proof-scratch.js';
import { ProofService } from './proof.service.js';

const run = promisify(execFile);
const signal = new AbortController().signal;
let site: CareUnderTest;
let agency: TestServer;

beforeAll(async () => {
  site = await CareUnderTest.start();
  agency = await TestServer.primary(await testFolder('proof-agency'));
  await agency.sql(`CREATE ROLE clerk`);
  await agency.sql(`CREATE DATABASE permits`);
  const sql = `CREATE TABLE permit (id int PRIMARY KEY, note text);
    INSERT INTO permit SELECT n, 'permit ' || n FROM generate_series(1, 1000) n;
    CREATE TABLE inspector (name text);
    ALTER TABLE permit OWNER TO clerk; ALTER TABLE permit ENABLE ROW LEVEL SECURITY; ALTER TABLE permit FORCE ROW LEVEL SECURITY`;
  await psql(sql);
}, 60_000);
afterAll(async () => {
  await agency?.remove();
  await site?.stop();
});

async function psql(sql: string): Promise<void> {
  const { binDirectory } = await findPostgres();
  const reach = ['-h', '127.0.0.1', '-p', String(agency.port), '-U', 'postgres', '-d', 'permits'];
  await run(path.join(binDirectory, 'psql'), [...reach, '-v', 'ON_ERROR_STOP=1', '-c', sql]);
}
const prove = () => site.get(ProofService).proveNext(signal);
const proofOf = async (snapshotId: string) =>
  (await site.results<PointReport>('archive.point')).filter((point) => point.snapshotId === snapshotId).at(-1)?.proof;
/** What is left to prove is none of the next test's. */
const rest = () => site.rows(`UPDATE archive_point SET proof_state = 'proven' WHERE proof_state = 'never'`);
const scratch = () => readdir(path.join(site.directory, 'proof'));

/** As the agent does, with the agency's own programs. */
async function dump(archiveId: string, runId = randomUUID()): Promise<string> {
  const { binDirectory } = await findPostgres();
  const reach = ['-h', '127.0.0.1', '-p', String(agency.port), '-U', 'postgres'];
  await site.backup(archiveId, null, {
    runId,
    part: 'globals',
    dump: { name: 'globals.sql', command: [path.join(binDirectory, 'pg_dumpall'), ...reach, '--globals-only'] },
  });
  const command = [path.join(binDirectory, 'pg_dump'), ...reach, '-Fc', '-Z0', 'permits'];
  return site.backup(archiveId, null, { runId, part: 'permits', dump: { name: 'permits.dump', command } });
}

describe('a dump', () => {
  const checks: ArchivePolicy['checks'] = [
    { name: 'permits are there', database: 'permits', sql: 'SELECT count(*) FROM permit;', atLeast: 1_000 },
    { name: 'nobody writes', database: 'permits', sql: `SELECT 1 FROM pg_ls_dir('/')`, atLeast: 1 },
    { name: 'one statement', database: 'permits', sql: 'SELECT 1; DROP TABLE permit', atLeast: 1 },
    { name: 'large', database: 'permits', sql: `SELECT repeat('9', 40000000), 2`, atLeast: 1 },
    { name: 'true', database: 'permits', sql: 'SELECT true', atLeast: 1 },
    { name: 'another database', database: 'water', sql: 'SELECT 1', atLeast: 1 },
  ];

  test('is loaded into a server of its major version, its rows are counted, and the agency’s checks asked', async () => {
    const archiveId = await site.archive({ source: 'postgresql', policy: { checks: checks.slice(0, 1) } });
    const first = await dump(archiveId);
    await prove();
    const proof = await proofOf(first);
    expect(proof).toMatchObject({ state: 'proven', failure: null });
    const found = new Map(proof?.checks.map((check) => [check.name, check.found]));
    expect(found.get('rows')).toBe('1000 in 2 tables');
    expect(found.get('rows of public.permit')).toBe('1000');
    expect(found.get('permits are there')).toBe('1000 (at least 1000)');
    const second = await dump(archiveId);
    await prove();
    const again = new Map((await proofOf(second))?.checks.map((check) => [check.name, check.found]));
    expect(again.get('rows of public.permit')).toBe('1000 (the proof before: 1000)');
    await rest();
    expect(await scratch()).toEqual([]);
  }, 90_000);

  test('is compared with the last one of a run that nobody suspects, not with what a thief has added', async () => {
    const archiveId = await site.archive({ source: 'postgresql' });
    const queue = site.get(ProofQueue);
    const dumped = async (runId: string | null, rows: number): Promise<PointRow> => {
      const wish = { name: 'permits.dump', command: ['/bin/echo', String(rows)] };
      const id = await site.backup(archiveId, null, { runId, part: 'permits', dump: wish });
      const point = await site.get(SiteUnitOfWork).run((tx) => site.get(Points).find(tx, archiveId, id));
      const at = new Date().toISOString();
      const proof = { state: 'proven', at, seconds: 1, checks: [], failure: null } as unknown as Proof;
      await queue.settle(point!, proof, { counted: true, rowCounts: { permit: rows } });
      return point!;
    };
    const [good, odd] = [randomUUID(), randomUUID()];
    await dumped(good, 1_000);
    await dumped(odd, 20);
    await dumped(null, 10);
    const last = await dumped(randomUUID(), 1);
    expect(await queue.countsBefore(last)).toEqual({ permit: 20 });
    const [change] = await site.rows<{ id: string }>(
      `INSERT INTO archive_change (change_id, archive_id, run_id, state, signals)
       VALUES (gen_random_uuid(), $1, $2, 'suspected', '[]') RETURNING change_id AS id`,
      [archiveId, odd],
    );
    expect(await queue.countsBefore(last)).toEqual({ permit: 1_000 });
    // A later run of the same change bears its name.
    await site.rows(`UPDATE archive_change SET run_id = NULL`);
    await site.rows(`UPDATE archive_run SET measures = jsonb_build_object('changeId', $2::text) WHERE run_id = $1`, [
      odd,
      change?.id,
    ]);
    expect(await queue.countsBefore(last)).toEqual({ permit: 1_000 });
    await site.rows(`UPDATE archive_change SET state = 'false-positive'`);
    expect(await queue.countsBefore(last)).toEqual({ permit: 20 });
    await rest();
  });

  test('fails its proof by a check that does not pass, and no check can change or reach anything', async () => {
    const archiveId = await site.archive({ source: 'postgresql', policy: { checks } });
    const only = await dump(archiveId);
    await prove();
    const proof = await proofOf(only);
    expect(proof).toMatchObject({ state: 'failed', failure: { code: 'proof.check' } });
    const found = new Map(proof?.checks.map((check) => [check.name, check]));
    expect(found.get('permits are there')).toMatchObject({ passed: true });
    expect(found.get('nobody writes')?.found).toMatch(/permission denied/);
    expect(found.get('one statement')?.found).toMatch(/syntax error/);
    expect(found.get('large')).toMatchObject({ passed: true, found: `${'9'.repeat(300)} (at least 1)` });
    expect(found.get('true')).toMatchObject({ passed: true });
    expect(found.has('another database')).toBe(false);
    await rest();
  }, 90_000);

  test.skipIf(process.getuid?.() !== 0)(
    'runs as no workload’s user, and leaves nothing running',
    async () => {
      const seen = await mkdtemp(path.join(tmpdir(), 'proof-user-'));
      await chmod(seen, 0o777);
      const program = `id -u > ${seen}/uid; setsid sh -c "echo \\$\\$ > ${seen}/pid; exec sleep 600" > /dev/null 2>&1 &`;
      const body = `BEGIN IF current_user = 'proof' THEN COPY (SELECT 1) TO PROGRAM '${program}'; END IF; RETURN true; END`;
      await psql(`CREATE FUNCTION public.hostile(text) RETURNS boolean LANGUAGE plpgsql AS $body$ ${body} $body$;
      ALTER TABLE inspector ADD CHECK (public.hostile(name)); INSERT INTO inspector VALUES ('one')`);
      try {
        const only = await dump(await site.archive({ source: 'postgresql' }));
        for (let more = true; more;) more = await prove();
        expect(await proofOf(only)).toMatchObject({ state: 'proven', failure: null });
        expect(Number(await readFile(path.join(seen, 'uid'), 'utf8'))).toBeLessThan(60_705);
        const pid = Number(await readFile(path.join(seen, 'pid'), 'utf8'));
        expect(await isAlive(pid)).toBe(false);
        expect(await scratch()).toEqual([]);
      } finally {
        await psql('DROP FUNCTION public.hostile(text) CASCADE; TRUNCATE inspector');
        await rm(seen, { recursive: true });
        await rest();
      }
    },
    90_000,
  );

  test('is asked nothing more once its time is over', async () => {
    const over = new AbortController();
    const asked: string[] = [];
    const check = (name: string) => ({
      ...{ name, database: 'permits', atLeast: 1 },
      get sql() {
        asked.push(name);
        over.abort(new Error('the time is over'));
        return 'SELECT 1';
      },
    });
    const questions = {
      checks: [check('one'), check('another')],
      before: null,
      globals: 'CREATE ROLE postgres;\nCREATE ROLE clerk;',
    };
    const { binDirectory } = await findPostgres();
    const reach = ['-h', '127.0.0.1', '-p', String(agency.port), '-U', 'postgres'];
    await site.get(ProofScratch).with(1, async (folder) => {
      const file = path.join(folder, 'files', 'permits.dump');
      await run(path.join(binDirectory, 'pg_dump'), [...reach, '-Fc', '-f', file, 'permits']);
      const loading = site.get(DumpProof).load(folder, questions, over.signal);
      await expect(loading).rejects.toThrow('the time is over');
    });
    expect(asked).toEqual(['one']);
  }, 90_000);

  test('that is none fails, with what the program said', async () => {
    const archiveId = await site.archive({ source: 'postgresql' });
    const wrong = { name: 'permits.dump', command: ['/bin/echo', 'no dump'] };
    const only = await site.backup(archiveId, null, { part: 'permits', dump: wrong });
    await prove();
    expect(await proofOf(only)).toMatchObject({ state: 'failed', failure: { code: 'proof.load' } });
  });
});
