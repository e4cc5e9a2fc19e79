import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { findPostgres } from '../binaries.js';
import { connect, withClient, type ConnectOptions, type PostgresClient } from '../client.js';
import { renderConfiguration, renderHba, type ConfigurationValue } from '../configuration.js';
import { freePort } from '../free-port.js';
import { keptDirectory } from '../identity.js';
import { PostgresServer } from '../server.js';
import { runTool } from '../tool.js';

/** A folder for a test's servers, which every user may pass through. */
export async function testFolder(name: string): Promise<string> {
  return keptDirectory(await mkdtemp(path.join(tmpdir(), `mainstay-${name}-`)));
}

/** A throw-away server for tests, with trust on the loopback address: never for anything else. */
export class TestServer {
  private constructor(
    readonly server: PostgresServer,
    readonly port: number,
    readonly folder: string,
    readonly superuser: string,
  ) {}

  static async primary(
    folder: string,
    settings: Readonly<Record<string, ConfigurationValue>> = {},
    superuser = 'postgres',
  ): Promise<TestServer> {
    const server = await PostgresServer.at(await findPostgres(), path.join(folder, 'data'));
    await server.initialise({ superuser, noSync: true });
    const test = new TestServer(server, await freePort(), folder, superuser);
    await test.configure(settings);
    await test.start();
    return test;
  }

  /** A server on a data directory that is there already; configured, not started. */
  static async on(folder: string, superuser: string, settings: Readonly<Record<string, ConfigurationValue>> = {}) {
    const server = await PostgresServer.at(await findPostgres(), path.join(folder, 'data'));
    const test = new TestServer(server, await freePort(), folder, superuser);
    await test.configure(settings);
    return test;
  }

  async configure(settings: Readonly<Record<string, ConfigurationValue>>): Promise<void> {
    const defaults = { listen_addresses: '127.0.0.1', fsync: false, wal_keep_size: '512MB', max_wal_senders: 10 };
    await this.write('postgresql.conf', renderConfiguration({ ...defaults, ...settings }));
    const trust = { type: 'host', user: 'all', address: '127.0.0.1/32', method: 'trust' } as const;
    await this.write(
      'pg_hba.conf',
      renderHba([
        { ...trust, database: 'all' },
        { ...trust, database: 'replication' },
      ]),
    );
  }

  async start(): Promise<void> {
    await this.server.start({
      port: this.port,
      socketDirectory: path.join(this.folder, 'run'),
      logFile: path.join(this.folder, 'server.log'),
    });
  }

  get connection(): ConnectOptions {
    return { host: '127.0.0.1', port: this.port, user: this.superuser, applicationName: 'test' };
  }

  connect(): Promise<PostgresClient> {
    return connect(this.connection);
  }

  /** Rows of one statement. */
  async sql<T extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> {
    return withClient(this.connection, async (client) => (await client.query<T>(text, values)).rows);
  }

  /** pgbench, run to its end. */
  async pgbench(args: readonly string[], signal?: AbortSignal): Promise<void> {
    const all = ['-h', '127.0.0.1', '-p', String(this.port), '-U', this.superuser, ...args, 'postgres'];
    await runTool(path.join(this.server.installation.binDirectory, 'pgbench'), all, signal ? { signal } : {});
  }

  /** What a standby and its primary must agree on: every row of pgbench's tables, in one number. */
  async checksum(): Promise<string> {
    const [row] = await this.sql<{ sum: string }>(`
      SELECT concat_ws('/',
        (SELECT sum(hashtextextended(a::text, 0)) FROM pgbench_accounts a),
        (SELECT sum(hashtextextended(t::text, 0)) FROM pgbench_tellers t),
        (SELECT sum(hashtextextended(h::text, 0)) FROM pgbench_history h)) AS sum`);
    return row?.sum ?? '';
  }

  async remove(): Promise<void> {
    await this.server.kill9();
    await rm(this.folder, { recursive: true, force: true });
  }

  private async write(name: string, text: string): Promise<void> {
    await writeFile(path.join(this.server.directory, name), text);
  }
}
