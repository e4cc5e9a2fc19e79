import { chmod, mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { archiveCheckCommand } from '#contracts/archive';
import { connect, freePort, ownedDirectory, PostgresServer, runTool } from '#libs/platform/postgres';
import { TestAgency } from '#test/agency';
import {
  AgentUnderTest,
  backupOf,
  restoreOf,
  secureVault,
  TestArchive,
  type TestAuthority,
} from '#test/archiving-agent';

let place: TestAuthority;
let agency: TestAgency;
let agent: AgentUnderTest;
let home: string;

const shell = (script: string) => ['/bin/sh', '-c', script];

beforeAll(async () => {
  [place, agency, home] = await Promise.all([
    secureVault(),
    TestAgency.start(),
    mkdtemp(path.join(tmpdir(), 'mainstay-streams-')),
  ]);
  await agency.query('CREATE DATABASE "per/mits"');
  await agency.query('CREATE TABLE permit AS SELECT generate_series(1, 1000) AS number', 'per/mits');
  await agency.query('CREATE ROLE clerk LOGIN');
  const { socketDirectory, port, user } = agency.workload;
  const program = path.join(agency.server.installation.binDirectory, 'pg_basebackup');
  const where = ['-h', socketDirectory!, '-p', String(port), '-U', user];
  agent = await AgentUnderTest.start(
    [
      agency.workload,
      {
        name: 'permits-base',
        kind: 'command',
        command: [program, ...where, '-D', '-', '-F', 'tar', '-X', 'fetch', '-c', 'fast'],
        fileName: 'base.tar',
        user: 'postgres',
      },
      { ...agency.workload, name: 'some', archive: { databases: ['per/mits', 'gone'] } },
      {
        name: 'payroll',
        kind: 'command',
        command: shell('echo payroll; id -un'),
        fileName: 'payroll.dmp',
        user: 'postgres',
      },
      {
        name: 'broken',
        kind: 'command',
        command: shell('echo half; echo "no license" >&2; exit 7'),
        fileName: 'x.dmp',
      },
      { name: 'environment', kind: 'command', command: shell('env'), fileName: 'environment' },
    ],
    { restoreTo: [home] },
  );
});
afterAll(async () => {
  await agent?.remove();
  await agency?.remove();
  await place?.vault.stop();
  await rm(home, { recursive: true, force: true });
});

test('a server is archived as a dump of each database and one of its roles, and loads again', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const result = await agent.work(archive, 'permits', backupOf('postgresql', { tags: ['run:7'] }));
  expect(result).toMatchObject({ state: 'completed', faultCount: 0 });
  expect(result.snapshots.map(({ part }) => part)).toEqual(['globals', 'per/mits', 'postgres']);
  const told = await archive.snapshots();
  expect(told.map(({ paths, tags }) => [...paths, ...tags])).toEqual([
    ['/globals.sql', 'run:7', 'part:globals'],
    ['/per%2Fmits.dump', 'run:7', 'part:per/mits'],
    ['/postgres.dump', 'run:7', 'part:postgres'],
  ]);
  expect(await archive.restic(['dump', result.snapshots[0]!.id, '/globals.sql'])).toContain('CREATE ROLE clerk');

  const target = { kind: 'folder', path: home } as const;
  const dump = result.snapshots[1]!.id;
  const restored = await agent.work(archive, 'permits', restoreOf(dump, { target }));
  const file = path.join(home, 'per%2Fmits.dump');
  expect(restored).toMatchObject({
    state: 'completed',
    filesRestored: 1,
    note: expect.stringContaining(file) as string,
  });
  expect(restored.note).toContain('pg_restore --dbname=postgres --create');
  expect((await stat(file)).size).toBe(restored.bytesRestored);
  await agency.query('DROP DATABASE "per/mits"');
  const { installation } = agency.server;
  const socket = ['-h', path.join(agency.home, 'run'), '-p', String(agency.port), '-U', 'postgres'];
  const load = ['--dbname=postgres', '--create', ...socket];
  await runTool(path.join(installation.binDirectory, 'pg_restore'), [...load, file]);
  expect(await agency.query('SELECT count(*)::int AS n FROM permit', 'per/mits')).toEqual([{ n: 1000 }]);
  const nowhere = await agent.work(archive, 'permits', restoreOf(dump));
  expect(nowhere).toMatchObject({ state: 'failed', failure: { code: 'archive.no-original' } });
});

test('a dump that fails leaves no snapshot and makes the run partial; the others go on', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const result = await agent.work(archive, 'some', backupOf('postgresql'));
  expect(result).toMatchObject({ state: 'partial', faultCount: 1, failure: null });
  expect(result.faults).toEqual([{ path: 'gone', what: 'The server has no such database.' }]);
  expect(result.snapshots.map(({ part }) => part)).toEqual(['globals', 'per/mits']);

  // The server ends the session of a dump that waits for a table.
  const client = await agency.connect('per/mits');
  await client.query('BEGIN; LOCK TABLE permit IN ACCESS EXCLUSIVE MODE');
  const workId = await agent.begin(archive, 'some', backupOf('postgresql'));
  await agency.query(
    "DO $$ BEGIN LOOP PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mainstay-agent%' AND wait_event_type = 'Lock'; EXIT WHEN FOUND; PERFORM pg_sleep(0.05); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$",
  );
  const cut = await agent.ended(archive, 'some', workId);
  await client.end();
  expect(cut).toMatchObject({ state: 'partial', faultCount: 2 });
  expect(cut.snapshots.map(({ part }) => part)).toEqual(['globals']);
  expect(cut.faults[1]).toMatchObject({ path: 'per%2Fmits.dump', what: expect.stringMatching(/terminat/i) as string });
  expect(await archive.snapshots()).toHaveLength(3);
});

test('a base backup, streamed as the guide has it, becomes a server again with stock tools', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const result = await agent.work(archive, 'permits-base', backupOf('command'));
  expect(result).toMatchObject({ state: 'completed', faultCount: 0 });
  const [snapshot] = result.snapshots;
  const restored = await agent.work(
    archive,
    'permits-base',
    restoreOf(snapshot!.id, { target: { kind: 'folder', path: home } }),
  );
  expect(restored).toMatchObject({ state: 'completed' });
  await chmod(home, 0o755);
  const directory = path.join(home, 'server');
  await mkdir(directory);
  const { installation, identity } = agency.server;
  await runTool('tar', ['-x', '-f', path.join(home, 'base.tar'), '-C', directory]);
  await runTool('chown', ['-R', `${identity.uid}:${identity.gid}`, directory]);
  await ownedDirectory(directory);
  await runTool(path.join(installation.binDirectory, 'pg_verifybackup'), ['-n', directory], { identity });
  const server = await PostgresServer.at(installation, directory);
  const port = await freePort();
  const socketDirectory = path.join(home, 'run');
  await server.start({ port, socketDirectory, logFile: path.join(home, 'log') });
  const client = await connect({
    host: socketDirectory,
    port,
    user: 'postgres',
    database: 'per/mits',
    applicationName: 'test',
  });
  expect((await client.query('SELECT FROM permit')).rowCount).toBe(1_000);
  await client.end();
  await server.stop('immediate');
});

test('the output of a program is archived as the user that agent.json names, and half of one is not', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const result = await agent.work(archive, 'payroll', backupOf('command'));
  expect(result).toMatchObject({ state: 'completed', snapshots: [{ part: 'payroll.dmp' }] });
  const said = await archive.restic(['dump', result.snapshots[0]!.id, '/payroll.dmp']);
  expect(said).toBe(process.getuid?.() === 0 ? 'payroll\npostgres\n' : said);
  const broken = await agent.work(archive, 'broken', backupOf('command'));
  expect(broken).toMatchObject({ state: 'failed', snapshots: [], failure: { code: 'archive.source-failed' } });
  expect(broken.failure?.message).toContain('no license');
  expect(await archive.snapshots()).toHaveLength(1);
});

test('a program is given nothing of the agent or restic', async () => {
  const archive = await TestArchive.open(place, 'escrowed');
  const { snapshots } = await agent.work(archive, 'environment', backupOf('command'));
  const environment = await archive.restic(['dump', snapshots[0]!.id, '/environment']);
  expect(
    environment
      .split('\n')
      .map((line) => line.split('=')[0])
      .filter((name) => !/^(PWD|_|SHLVL|OLDPWD|)$/.test(name!))
      .sort(),
  ).toEqual(['HOME', 'LC_ALL', 'PATH']);
});

test('what cannot be archived is found out before', async () => {
  const check = (workloadName: string, source: 'command' | 'files' | 'postgresql') =>
    agent.ask(archiveCheckCommand, {
      workloadId: '7f4df1f0-55a3-4a36-8a53-6a2a7ad3a2a4',
      workloadName,
      source,
      keyMode: 'escrowed',
    });
  expect((await check('permits', 'postgresql')).findings).toEqual([]);
  expect((await check('payroll', 'files')).findings).toMatchObject([{ code: 'archive.other-source' }]);
  expect((await check('some', 'postgresql')).findings).toMatchObject([
    { code: 'archive.no-database', severity: 'warning' },
  ]);
  expect((await check('some', 'postgresql')).resticVersion).toMatch(/^\d+\.\d+/);
  expect(await readFile(agent.state.workload('permits', 'archive-password.json'), 'utf8').catch(() => 'none')).toBe(
    'none',
  );
});
