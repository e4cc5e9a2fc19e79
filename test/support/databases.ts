import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { addressFor, CONTROL_ROLES, provisionDatabase, type RoleSpec } from '#libs/platform/database';
import { migrateQueue } from '#libs/platform/queue';
import { CONTROL_MIGRATIONS } from '#migrations/control';
import { SITE_MIGRATIONS } from '#migrations/site';

export interface ControlDatabase {
  readonly tenantUrl: string;
  readonly providerUrl: string;
  /** Owns the tables; row-level security is forced on it too. */
  readonly ownerUrl: string;
  readonly queueUrl: string;
  /** A superuser, to look at rows past every policy. */
  readonly adminUrl: string;
  drop(): Promise<void>;
}

export interface SiteDatabase {
  readonly url: string;
  readonly queueUrl: string;
  drop(): Promise<void>;
}

const PASSWORD = 'role-for-tests';
const role = (name: string): RoleSpec => ({ name, password: PASSWORD });

async function asAdmin(work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgresUrl') });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** Test files run side by side: whatever concerns the whole server is done by one at a time. */
async function inTurn(work: () => Promise<void>): Promise<void> {
  await asAdmin(async (client) => {
    await client.query(`SELECT pg_advisory_lock(hashtext('mainstay test databases'))`);
    await work();
  });
}

async function exists(database: string): Promise<boolean> {
  let found = false;
  await asAdmin(async (client) => {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    found = Boolean(rowCount);
  });
  return found;
}

async function copyOf(template: string, prefix: string): Promise<string> {
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  await inTurn(() => asAdmin((client) => client.query(`CREATE DATABASE ${name} TEMPLATE ${template}`)));
  await asAdmin(async (client) => {
    await client.query(`REVOKE ALL ON DATABASE ${name} FROM PUBLIC`);
    const roles = prefix === 'control' ? CONTROL_ROLES : (['mainstay_site'] as const);
    for (const one of roles) await client.query(`GRANT CONNECT, CREATE ON DATABASE ${name} TO ${one}`);
  });
  return name;
}

const drop = (database: string) => () => asAdmin((client) => client.query(`DROP DATABASE ${database} WITH (FORCE)`));
const address = (name: string, database: string): string => addressFor(inject('postgresUrl'), role(name), database);

/** A control database of the test's own, with the whole schema, copied from a template that is made once a run. */
export async function createControlDatabase(): Promise<ControlDatabase> {
  await inTurn(async () => {
    if (await exists('control_template')) return;
    const [owner, ...others] = CONTROL_ROLES.map(role) as [RoleSpec, ...RoleSpec[]];
    await provisionDatabase({
      adminUrl: inject('postgresUrl'),
      database: 'control_making',
      owner,
      roles: others,
      queueRole: 'mainstay_queue',
      migrations: CONTROL_MIGRATIONS,
    });
    await migrateQueue(address('mainstay_queue', 'control_making'));
    await asAdmin((client) => client.query('ALTER DATABASE control_making RENAME TO control_template'));
  });
  const name = await copyOf('control_template', 'control');
  const admin = new URL(inject('postgresUrl'));
  admin.pathname = `/${name}`;
  return {
    tenantUrl: address('mainstay_tenant', name),
    providerUrl: address('mainstay_provider', name),
    ownerUrl: address('mainstay_owner', name),
    queueUrl: address('mainstay_queue', name),
    adminUrl: admin.toString(),
    drop: drop(name),
  };
}

/** A site's database of the test's own. */
export async function createSiteDatabase(): Promise<SiteDatabase> {
  await inTurn(async () => {
    if (await exists('site_template')) return;
    await provisionDatabase({
      adminUrl: inject('postgresUrl'),
      database: 'site_making',
      owner: role('mainstay_site'),
      roles: [],
      queueRole: 'mainstay_site',
      migrations: SITE_MIGRATIONS,
    });
    await migrateQueue(address('mainstay_site', 'site_making'));
    await asAdmin((client) => client.query('ALTER DATABASE site_making RENAME TO site_template'));
  });
  const name = await copyOf('site_template', 'site');
  const url = address('mainstay_site', name);
  return { url, queueUrl: url, drop: drop(name) };
}
