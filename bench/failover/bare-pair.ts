import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { waitFor } from '#libs/platform/clock';
import {
  chownTo,
  connectionString,
  type ConfigurationValue,
  findPostgres,
  freePort,
  ownedDirectory,
  type PostgresInstallation,
  PostgresServer,
  renderConfiguration,
  runTool,
  withClient,
} from '#libs/platform/postgres';
import { type ClientAccount, Clients, fillDatabase } from './clients.js';
import { SERVER_SETTINGS } from './settings.js';
import type { FailoverSide } from './side.js';

const STANDBY = 'standby';
const FIRST_WRITE_TIMEOUT_MS = 30_000;

/**
 * PostgreSQL alone: a primary with one synchronous physical standby, which a person promotes by hand. Nobody decides,
 * compares or fences anything: it is the least that a failover can take.
 */
export class BarePair implements FailoverSide {
  readonly name = 'bare pg_promote';
  private readonly account: ClientAccount = { user: 'clerk', password: secret(), database: 'postgres' };
  private readonly adminPassword = secret();
  private folder = '';
  private installation!: PostgresInstallation;
  private template!: PostgresServer;
  private servers: readonly PostgresServer[] = [];

  async prepare(): Promise<void> {
    this.folder = await ownedDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-bare-')));
    this.installation = await findPostgres();
    this.template = await this.server('template');
    await this.template.initialise({ superuser: 'postgres', password: this.adminPassword });
    const port = await freePort();
    await this.start(this.template, 'template', port, {});
    await withClient(this.admin(port), async (admin) => {
      await admin.query('SELECT pg_create_physical_replication_slot($1, true)', [STANDBY]);
      await fillDatabase(admin, this.account, {
        binDirectory: this.installation.binDirectory,
        port,
        adminPassword: this.adminPassword,
      });
    });
    // Stopped in order: a copy of it is a primary, and with a standby.signal in it a standby of that primary.
    await this.template.stop('fast');
  }

  async round(): Promise<number> {
    const [primaryPort, standbyPort] = [await freePort(), await freePort()];
    const [primary, standby] = await this.seed(primaryPort, standbyPort);
    const clients = new Clients(this.account, [
      { host: '127.0.0.1', port: primaryPort },
      { host: '127.0.0.1', port: standbyPort },
    ]);
    try {
      await clients.begin(primaryPort);
      return await withClient(this.admin(standbyPort), async (admin) => {
        await primary.kill9();
        const ordered = performance.now();
        await admin.query('SELECT pg_promote(false)');
        return ((await clients.firstWrite(standbyPort, ordered, FIRST_WRITE_TIMEOUT_MS)) - ordered) / 1000;
      });
    } finally {
      await clients.end();
      await Promise.all([primary.kill9(), standby.kill9()]);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill9()));
    if (this.folder !== '') await rm(this.folder, { recursive: true, force: true });
  }

  /** A primary and its standby that is as far as it is, synchronous, both fresh from the template. */
  private async seed(primaryPort: number, standbyPort: number): Promise<[PostgresServer, PostgresServer]> {
    const [primary, standby] = [await this.copy('primary'), await this.copy(STANDBY)];
    await this.start(primary, 'primary', primaryPort, { synchronous_standby_names: `FIRST 1 (${STANDBY})` });
    await rm(path.join(standby.directory, 'pg_replslot', STANDBY), { recursive: true });
    await this.give(standby, 'standby.signal', '');
    await this.start(standby, STANDBY, standbyPort, {
      // As our sites have it. At PostgreSQL's default of 5 s a promotion right after the primary's end sometimes takes
      // those 5 s: the startup process loses the wake-up between its last look and its wait.
      wal_retrieve_retry_interval: '500ms',
      primary_slot_name: STANDBY,
      primary_conninfo: connectionString({
        host: '127.0.0.1',
        port: primaryPort,
        user: 'postgres',
        password: this.adminPassword,
        application_name: STANDBY,
      }),
    });
    await withClient(this.admin(primaryPort), (admin) =>
      waitFor(
        'the standby to be synchronous',
        async () => (await admin.query(`SELECT FROM pg_stat_replication WHERE sync_state = 'sync'`)).rowCount === 1,
        { timeoutMs: 30_000, everyMs: 20 },
      ),
    );
    return [primary, standby];
  }

  private async copy(name: string): Promise<PostgresServer> {
    const server = await this.server(name);
    await rm(server.directory, { recursive: true, force: true });
    await runTool('cp', ['-a', '--reflink=auto', this.template.directory, server.directory], {
      identity: server.identity,
    });
    return server;
  }

  private async server(name: string): Promise<PostgresServer> {
    const server = await PostgresServer.at(this.installation, path.join(this.folder, name));
    this.servers = [...this.servers.filter(({ directory }) => directory !== server.directory), server];
    return server;
  }

  private async start(
    server: PostgresServer,
    name: string,
    port: number,
    settings: Readonly<Record<string, ConfigurationValue>>,
  ): Promise<void> {
    await this.give(server, 'postgresql.auto.conf', renderConfiguration({ ...SERVER_SETTINGS, ...settings }));
    const [socketDirectory, logFile] = [path.join(this.folder, 'run'), path.join(this.folder, `${name}.log`)];
    await server.start({ port, socketDirectory, logFile });
  }

  private async give(server: PostgresServer, name: string, content: string): Promise<void> {
    const file = path.join(server.directory, name);
    await writeFile(file, content, { mode: 0o600 });
    await chownTo(file, server.identity);
  }

  private admin(port: number) {
    const { database } = this.account;
    return {
      host: '127.0.0.1',
      port,
      user: 'postgres',
      password: this.adminPassword,
      database,
      applicationName: 'bench',
    };
  }
}

function secret(): string {
  return randomBytes(18).toString('base64url');
}
