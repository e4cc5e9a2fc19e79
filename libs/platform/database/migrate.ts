import { DataSource, type MigrationInterface } from 'typeorm';

export type MigrationClass = new () => MigrationInterface;

/**
 * Brings a database up to date as its owner, under an advisory lock, so that two starts at once do it once.
 *
 * @returns the names of the migrations that ran.
 */
export async function migrate(url: string, migrations: readonly MigrationClass[]): Promise<string[]> {
  const source = new DataSource({
    type: 'postgres',
    url,
    applicationName: 'mainstay migrate',
    migrations: [...migrations],
    migrationsTableName: 'schema_migration',
    migrationsTransactionMode: 'each',
  });
  await source.initialize();
  const lock = source.createQueryRunner();
  try {
    await lock.query(`SELECT pg_advisory_lock(hashtext('mainstay schema'))`);
    const ran = await source.runMigrations();
    return ran.map((migration) => migration.name);
  } finally {
    await lock.query(`SELECT pg_advisory_unlock(hashtext('mainstay schema'))`);
    await lock.release();
    await source.destroy();
  }
}
