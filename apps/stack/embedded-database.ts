import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { addressFor, provisionDatabase, type RoleSpec } from '#libs/platform/database';
import { findPostgres, ownedDirectory, PostgresServer } from '#libs/platform/postgres';
import { migrateQueue } from '#libs/platform/queue';
import { CONTROL_MIGRATIONS } from '#migrations/control';
import { SITE_MIGRATIONS } from '#migrations/site';
import type { Installation, SiteKey } from './installation.js';

const ADMIN = 'mainstay_admin';
const CONTROL_DATABASE = 'mainstay_control';

/** An address without its password: the processes read that from a passfile, so that no process list shows it. */
function withoutPassword(address: string): string {
  const url = new URL(address);
  url.password = '';
  return url.toString();
}

/**
 * The one PostgreSQL server of the stack, with a database for the control plane and one for each site. It outlives the
 * stack's kill -9; the next start takes it over.
 */
export class EmbeddedDatabase {
  private constructor(
    private readonly installation: Installation,
    private readonly server: PostgresServer,
  ) {}

  static async at(installation: Installation): Promise<EmbeddedDatabase> {
    const directory = installation.file('postgres');
    await ownedDirectory(directory);
    return new EmbeddedDatabase(
      installation,
      await PostgresServer.at(await findPostgres(), path.join(directory, 'data')),
    );
  }

  async start(): Promise<void> {
    const { record, socketDirectory } = this.installation;
    await this.server.initialise({ superuser: ADMIN, password: record.secrets.postgresAdmin });
    await ownedDirectory(path.join(socketDirectory, 'postgres'));
    await this.server.start({
      port: record.postgresPort,
      socketDirectory: path.join(socketDirectory, 'postgres'),
      logFile: this.installation.file('postgres', 'log'),
      options: {
        listen_addresses: '127.0.0.1',
        max_connections: 300,
        shared_buffers: '64MB',
        max_wal_size: '256MB',
        log_min_messages: 'warning',
      },
    });
  }

  /** Databases, roles, schemas: brought up to date side by side. */
  async provision(): Promise<void> {
    await this.writePassfile();
    await Promise.all([this.provisionControl(), this.provisionSite('metro'), this.provisionSite('regional')]);
  }

  private async provisionControl(): Promise<void> {
    await provisionDatabase({
      adminUrl: this.adminUrl,
      database: CONTROL_DATABASE,
      owner: this.role('owner'),
      roles: [this.role('tenant'), this.role('provider'), this.role('queue')],
      queueRole: this.role('queue').name,
      migrations: CONTROL_MIGRATIONS,
    });
    await migrateQueue(addressFor(this.adminUrl, this.role('queue'), CONTROL_DATABASE));
  }

  private async provisionSite(site: SiteKey): Promise<void> {
    const owner = this.siteRole(site);
    const database = this.siteDatabase(site);
    await provisionDatabase({
      adminUrl: this.adminUrl,
      database,
      owner,
      roles: [],
      queueRole: owner.name,
      migrations: SITE_MIGRATIONS,
    });
    await migrateQueue(addressFor(this.adminUrl, owner, database));
  }

  private role(kind: 'owner' | 'tenant' | 'provider' | 'queue'): RoleSpec {
    return { name: `mainstay_${kind}`, password: this.installation.record.secrets[kind] };
  }

  private siteRole(site: SiteKey): RoleSpec {
    const { siteMetro, siteRegional } = this.installation.record.secrets;
    return { name: `mainstay_site_${site}`, password: site === 'metro' ? siteMetro : siteRegional };
  }

  private siteDatabase(site: SiteKey): string {
    return `mainstay_site_${site}`;
  }

  /** A superuser's address; for provisioning and for tests that stop the control plane's database. */
  get adminUrl(): string {
    const { record } = this.installation;
    return `postgres://${ADMIN}:${record.secrets.postgresAdmin}@127.0.0.1:${record.postgresPort}/postgres`;
  }

  get controlDatabase(): string {
    return CONTROL_DATABASE;
  }

  controlUrl(kind: 'tenant' | 'provider' | 'queue'): string {
    return withoutPassword(addressFor(this.adminUrl, this.role(kind), CONTROL_DATABASE));
  }

  siteUrl(site: SiteKey): string {
    return withoutPassword(addressFor(this.adminUrl, this.siteRole(site), this.siteDatabase(site)));
  }

  /** The passfile that the processes of one cell get: only that cell's roles are in it. */
  passfile(cell: 'control' | SiteKey): string {
    return this.installation.secretFile(`pgpass-${cell}`);
  }

  private async writePassfile(): Promise<void> {
    const cells = {
      control: [this.role('tenant'), this.role('provider'), this.role('queue')],
      metro: [this.siteRole('metro')],
      regional: [this.siteRole('regional')],
    };
    for (const [cell, roles] of Object.entries(cells)) {
      const lines = roles.map((role) => `127.0.0.1:*:*:${role.name}:${role.password}\n`);
      await writeFile(this.passfile(cell as keyof typeof cells), lines.join(''), { mode: 0o600 });
    }
  }

  async stop(): Promise<void> {
    await this.server.stop('fast');
  }
}
