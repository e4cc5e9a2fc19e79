import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { issueCertificate, createAuthority } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import {
  chownTo,
  connectionString,
  findPostgres,
  freePort,
  ownedDirectory,
  PostgresServer,
  quoteLiteral,
  renderConfiguration,
  renderHba,
  serverIdentity,
  withClient,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { timed, type Cleanup } from './programs.js';

/** How a client or a standby reaches the primary. */
export interface Route {
  readonly host: string;
  readonly port: number;
  readonly sslmode: 'disable' | 'require';
}

/** A primary with rows to copy and a standby that it waits for, on this machine, with every setting that concerns safety at its default. */
export class Cluster {
  readonly port: number;
  /** What one COPY of the rows writes. */
  copyBytes = 0;
  /** What one base backup writes. */
  backupBytes = 0;
  private standbyPort = 0;
  private rows = 0;

  private constructor(
    private readonly folder: string,
    private readonly primary: PostgresServer,
    private readonly identity: ServerIdentity,
    port: number,
  ) {
    this.port = port;
  }

  static async create(cleanup: Cleanup, copyMegabytes: number, hosts: readonly string[]): Promise<Cluster> {
    const identity = await serverIdentity();
    const folder = await ownedDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-bench-')));
    cleanup.add(() => timed('rm', ['-rf', folder]));
    const primary = await PostgresServer.at(await findPostgres(), path.join(folder, 'primary'));
    await primary.initialise({});
    const cluster = new Cluster(folder, primary, identity, await freePort());
    await cluster.configurePrimary(hosts);
    cleanup.add(() => primary.stop('immediate'));
    await cluster.start(primary, cluster.port, 'primary');
    await cluster.fill(copyMegabytes);
    await cluster.addStandby(cleanup);
    await cluster.weigh();
    return cluster;
  }

  program(name: string): string {
    return path.join(this.primary.installation.binDirectory, name);
  }

  /** The standby streams by this route from now on, and the primary waits for it. */
  async stream(name: string, route: Route): Promise<void> {
    const application = `bench_${name.replaceAll(/\W/g, '_')}`;
    const { host, port, sslmode } = route;
    const source = connectionString({ host, port, sslmode, user: 'postgres', application_name: application });
    await this.sql(
      this.standbyPort,
      `ALTER SYSTEM SET primary_conninfo = ${quoteLiteral(source)}`,
      'SELECT pg_reload_conf()',
    );
    const streaming = async (): Promise<boolean> => {
      const rows = await this.sql(this.port, 'SELECT application_name, sync_state FROM pg_stat_replication');
      return rows.length === 1 && rows[0]?.['application_name'] === application && rows[0]['sync_state'] === 'sync';
    };
    await waitFor(`the standby to stream by ${name}`, streaming, { timeoutMs: 60_000, everyMs: 100 });
  }

  /** Makes the primary wait for its standby, or not. */
  async waitForStandby(wait: boolean): Promise<void> {
    const names = wait ? '*' : '';
    await this.sql(this.port, `ALTER SYSTEM SET synchronous_standby_names = '${names}'`, 'SELECT pg_reload_conf()');
  }

  async checkpoint(): Promise<void> {
    await this.sql(this.port, 'CHECKPOINT');
  }

  private async configurePrimary(hosts: readonly string[]): Promise<void> {
    const authority = await createAuthority('Benchmark');
    const server = await issueCertificate(authority, { commonName: 'primary', ipAddresses: hosts, usages: ['server'] });
    await this.put('primary/server.crt', server.certificate);
    await this.put('primary/server.key', server.privateKey);
    await this.put(
      'primary/postgresql.conf',
      renderConfiguration({
        listen_addresses: hosts.join(','),
        ssl: true,
        shared_buffers: '512MB',
        max_wal_size: '16GB',
        checkpoint_timeout: '1h',
        wal_keep_size: '4GB',
        autovacuum: false,
      }),
    );
    const rules = hosts.flatMap((host) => {
      const network = host.startsWith('127.') ? '127.0.0.1/32' : `${host.replace(/\d+$/, '0')}/24`;
      const trust = { type: 'host', user: 'all', address: network, method: 'trust' } as const;
      return [
        { ...trust, database: 'all' },
        { ...trust, database: 'replication' },
      ];
    });
    await this.put('primary/pg_hba.conf', renderHba(rules));
  }

  private async fill(copyMegabytes: number): Promise<void> {
    // 234 bytes of text each, as COPY writes them.
    this.rows = Math.round((copyMegabytes * 1_000_000) / 234);
    await this.sql(
      this.port,
      `CREATE TABLE bench_rows AS SELECT g AS id, md5(g::text) AS a, repeat(md5((g * 7)::text), 6) AS b FROM generate_series(1, ${this.rows}) g`,
      'VACUUM (FREEZE, ANALYZE) bench_rows',
      'CHECKPOINT',
    );
    await timed(this.program('pgbench'), ['-q', '-i', '-s', '10', ...this.clientArguments()]);
  }

  private async weigh(): Promise<void> {
    const plain: Route = { host: '127.0.0.1', port: this.port, sslmode: 'disable' };
    const count = { count: true };
    this.copyBytes = (await timed(this.program('psql'), this.copyArguments(plain), count)).bytes;
    this.backupBytes = (await timed(this.program('pg_basebackup'), this.backupArguments(plain), count)).bytes;
  }

  /** pg_basebackup, to write a tar file to its standard output. */
  backupArguments(route: Route): string[] {
    return ['-D', '-', '-F', 't', '-X', 'none', '-c', 'fast', '--no-manifest', '-d', this.connection(route)];
  }

  /** psql, to write the rows, or the given share of them, to its standard output. */
  copyArguments(route: Route, share = 1): string[] {
    const rows = share === 1 ? 'bench_rows' : `(SELECT * FROM bench_rows LIMIT ${Math.round(this.rows * share)})`;
    return ['-qX', this.connection(route), '-c', `COPY ${rows} TO STDOUT`];
  }

  connection({ host, port, sslmode }: Route): string {
    return connectionString({ host, port, sslmode, user: 'postgres', dbname: 'postgres' });
  }

  /** A client of the agency's own network, which every commit's client is. */
  clientArguments(): string[] {
    return ['-h', '127.0.0.1', '-p', String(this.port), '-U', 'postgres', 'postgres'];
  }

  private async addStandby(cleanup: Cleanup): Promise<void> {
    const directory = path.join(this.folder, 'standby');
    const source = connectionString({ host: '127.0.0.1', port: this.port, sslmode: 'disable', user: 'postgres' });
    const { uid, gid, switched } = this.identity;
    const backup = ['-D', directory, '-d', source, '-X', 'stream', '-c', 'fast'];
    await timed(this.program('pg_basebackup'), backup, switched ? { uid, gid } : {});
    await this.put('standby/standby.signal', '');
    this.standbyPort = await freePort();
    const standby = await PostgresServer.at(this.primary.installation, directory);
    cleanup.add(() => standby.stop('immediate'));
    await this.start(standby, this.standbyPort, 'standby');
  }

  private async start(server: PostgresServer, port: number, name: string): Promise<void> {
    const socketDirectory = path.join(this.folder, 'run');
    await server.start({ port, socketDirectory, logFile: path.join(this.folder, `${name}.log`) });
  }

  private sql(port: number, ...statements: string[]): Promise<Record<string, unknown>[]> {
    const options = { host: '127.0.0.1', port, user: 'postgres', applicationName: 'bench' };
    return withClient(options, async (client) => {
      let rows: Record<string, unknown>[] = [];
      for (const statement of statements) rows = (await client.query<Record<string, unknown>>(statement)).rows;
      return rows;
    });
  }

  private async put(name: string, text: string): Promise<void> {
    const file = path.join(this.folder, name);
    await writeFile(file, text);
    await chmod(file, 0o600);
    await chownTo(file, this.identity);
  }
}
