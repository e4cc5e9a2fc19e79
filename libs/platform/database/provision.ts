import pg from 'pg';
import { migrate, type MigrationClass } from './migrate.js';

/** The control database's roles: the migrator owns, the others are bound by row-level security. */
export const CONTROL_ROLES = ['mainstay_owner', 'mainstay_tenant', 'mainstay_provider', 'mainstay_queue'] as const;
export type ControlRole = (typeof CONTROL_ROLES)[number];

export interface RoleSpec {
  readonly name: string;
  readonly password: string;
}

export interface ProvisionOptions {
  /** A superuser's address of the server, any database. */
  readonly adminUrl: string;
  readonly database: string;
  /** Owns the database and runs the migrations. */
  readonly owner: RoleSpec;
  /** The other roles, made with the same right to connect and nothing else. */
  readonly roles: readonly RoleSpec[];
  /** The role that keeps the queue's tables, if it is not the owner: it may make a schema. */
  readonly queueRole?: string;
  readonly migrations: readonly MigrationClass[];
}

/** The same server, as another role and on another database. */
export function addressFor(adminUrl: string, role: RoleSpec, database: string): string {
  const url = new URL(adminUrl);
  url.username = role.name;
  url.password = role.password;
  url.pathname = `/${database}`;
  return url.toString();
}

async function ensureRole(client: pg.Client, { name, password }: RoleSpec): Promise<void> {
  const role = pg.escapeIdentifier(name);
  const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [name]);
  if (!rowCount) await client.query(`CREATE ROLE ${role}`);
  await client.query(
    `ALTER ROLE ${role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD ${pg.escapeLiteral(password)}`,
  );
}

/**
 * Makes a database with its roles and brings its schema up to date. Every step is safe to repeat, so a start after a
 * crash anywhere in it goes on.
 */
export async function provisionDatabase(options: ProvisionOptions): Promise<void> {
  const admin = new pg.Client({ connectionString: options.adminUrl, application_name: 'mainstay provision' });
  await admin.connect();
  const database = pg.escapeIdentifier(options.database);
  try {
    for (const role of [options.owner, ...options.roles]) await ensureRole(admin, role);
    const { rowCount } = await admin.query('SELECT FROM pg_database WHERE datname = $1', [options.database]);
    if (!rowCount) await admin.query(`CREATE DATABASE ${database} OWNER ${pg.escapeIdentifier(options.owner.name)}`);
    await admin.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`);
    for (const role of options.roles) {
      await admin.query(`GRANT CONNECT ON DATABASE ${database} TO ${pg.escapeIdentifier(role.name)}`);
    }
    if (options.queueRole !== undefined) {
      await admin.query(`GRANT CREATE ON DATABASE ${database} TO ${pg.escapeIdentifier(options.queueRole)}`);
    }
  } finally {
    await admin.end();
  }
  const ownerUrl = addressFor(options.adminUrl, options.owner, options.database);
  await migrate(ownerUrl, options.migrations);
  await settleUsage(ownerUrl, options);
}

/** Who may enter the schema of our tables: the owner and its roles, but not the queue's, which has its own. */
async function settleUsage(ownerUrl: string, { owner, roles, queueRole }: ProvisionOptions): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl, application_name: 'mainstay provision' });
  await client.connect();
  try {
    // PostgreSQL lets everybody in. The owner is named, since foreign keys are checked in its name wherever the
    // database is copied to.
    await client.query('REVOKE ALL ON SCHEMA public FROM PUBLIC');
    for (const { name } of [owner, ...roles]) {
      const change = name === queueRole && name !== owner.name ? ['REVOKE', 'FROM'] : ['GRANT', 'TO'];
      await client.query(`${change[0]} USAGE ON SCHEMA public ${change[1]} ${pg.escapeIdentifier(name)}`);
    }
  } finally {
    await client.end();
  }
}
