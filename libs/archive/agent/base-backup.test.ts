import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
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

beforeAll(async () => {
  [place, agency, home] = await Promise.all([
    secureVault(),
    TestAgency.start(),
    mkdtemp(path.join(tmpdir(), 'mainstay-base-')),
  ]);
  await agency.query('CREATE TABLE permit AS SELECT generate_series(1, 1000) AS number');
  const { socketDirectory, port, user } = agency.workload;
  const program = path.join(agency.server.installation.binDirectory, 'pg_basebackup');
  const where = ['-h', socketDirectory!, '-p', String(port), '-U', user];
  agent = await AgentUnderTest.start(
    [
      {
        name: 'permits-base',
        kind: 'command',
        command: [program, ...where, '-D', '-', '-F', 'tar', '-X', 'fetch', '-c', 'fast'],
        fileName: 'base.tar',
        user: 'postgres',
      },
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
    database: 'postgres',
    applicationName: 'test',
  });
  expect((await client.query('SELECT FROM permit')).rowCount).toBe(1_000);
  await client.end();
  await server.stop('immediate');
});
