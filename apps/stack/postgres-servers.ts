import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { clusterVersion, findPostgres, PostgresServer } from '#libs/platform/postgres';

const DEEPEST = 5;

async function dataDirectories(directory: string, depth: number): Promise<string[]> {
  const entries = (await ifPresent(readdir(directory, { withFileTypes: true }))) ?? [];
  if (entries.some((entry) => entry.name === 'postmaster.pid')) return [directory];
  if (depth === 0) return [];
  const folders = entries.filter((entry) => entry.isDirectory());
  const found = await Promise.all(folders.map((entry) => dataDirectories(path.join(directory, entry.name), depth - 1)));
  return found.flat();
}

/**
 * Stops every PostgreSQL server whose data lies below a folder: a site leaves its standbys running when it ends, as it
 * must for a restart, and the stack ends with all of them.
 */
export async function stopServersBelow(directory: string): Promise<void> {
  for (const found of await dataDirectories(directory, DEEPEST)) {
    const version = await clusterVersion(found);
    if (version === undefined) continue;
    const server = await PostgresServer.at(await findPostgres({ version }), found);
    await server.stop('fast').catch(() => server.stop('immediate'));
  }
}
