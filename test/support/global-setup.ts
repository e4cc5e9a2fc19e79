import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';
import { findPostgres, freePort, ownedDirectory, PostgresServer } from '#libs/platform/postgres';

declare module 'vitest' {
  export interface ProvidedContext {
    /** A superuser's address of the server that all test files share; each takes databases of its own. */
    readonly postgresUrl: string;
  }
}

const PASSWORD = 'for-tests-on-loopback-only';

/** One PostgreSQL server for the whole run: a start costs seconds, a database some 50 milliseconds. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-test-'));
  await ownedDirectory(home);
  const server = await PostgresServer.at(await findPostgres(), path.join(home, 'data'));
  await server.initialise({ superuser: 'postgres', password: PASSWORD, noSync: true });
  const port = await freePort();
  await mkdir(path.join(home, 'socket'), { recursive: true });
  await server.start({
    port,
    socketDirectory: path.join(home, 'socket'),
    logFile: path.join(home, 'log'),
    options: { listen_addresses: '127.0.0.1', fsync: 'off', max_connections: 400, full_page_writes: 'off' },
  });
  project.provide('postgresUrl', `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`);
  return async () => {
    await server.stop('immediate');
    await rm(home, { recursive: true, force: true });
  };
}
