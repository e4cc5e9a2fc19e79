import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ReplicationNames } from '#contracts/replication';
import {
  chownTo,
  connect,
  type ConfigurationValue,
  findPostgres,
  freePort,
  ownedDirectory,
  type PostgresClient,
  PostgresServer,
  renderConfiguration,
  runTool,
} from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';

/** A PostgreSQL server as an agency has one: password by TCP, no password by its Unix socket. */
export class TestAgency {
  private constructor(
    readonly home: string,
    readonly server: PostgresServer,
    readonly port: number,
    private readonly standbys: PostgresServer[],
  ) {}

  /** @param parent the folder for all of it: of a disk of its own, for example */
  static async start(
    settings: Readonly<Record<string, ConfigurationValue>> = {},
    parent = tmpdir(),
  ): Promise<TestAgency> {
    const home = await mkdtemp(path.join(parent, 'mainstay-agency-'));
    await ownedDirectory(home);
    const server = await PostgresServer.at(await findPostgres(), path.join(home, 'data'));
    await server.initialise({ superuser: 'postgres', password: 'town', localAuthentication: 'trust', noSync: true });
    const agency = new TestAgency(home, server, await freePort(), []);
    await agency.configure(settings);
    await agency.startServer();
    return agency;
  }

  /** As its configuration of the agent lists it. */
  get workload(): PostgresWorkload {
    return {
      name: 'permits',
      kind: 'postgresql',
      host: '127.0.0.1',
      port: this.port,
      socketDirectory: path.join(this.home, 'run'),
      user: 'postgres',
      dataDirectory: this.server.directory,
    };
  }

  /** Written to postgresql.conf, which the agency owns; effective with the next start or reload. */
  async configure(settings: Readonly<Record<string, ConfigurationValue>>): Promise<void> {
    const text = renderConfiguration({ listen_addresses: '127.0.0.1', max_connections: 40, ...settings });
    await writeFile(path.join(this.server.directory, 'postgresql.conf'), text);
  }

  async startServer(): Promise<void> {
    await this.server.start({
      port: this.port,
      socketDirectory: path.join(this.home, 'run'),
      logFile: path.join(this.home, 'log'),
    });
  }

  connect(database = 'postgres'): Promise<PostgresClient> {
    return connect({
      host: path.join(this.home, 'run'),
      port: this.port,
      user: 'postgres',
      database,
      applicationName: 'clerk',
    });
  }

  async query<R extends object>(text: string, database = 'postgres'): Promise<R[]> {
    const client = await this.connect(database);
    try {
      return (await client.query<R>(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** A standby that streams as the metro site's does. */
  async startStandby(names: ReplicationNames, password: string, name = 'metro'): Promise<PostgresServer> {
    const standby = await PostgresServer.at(this.server.installation, path.join(this.home, name));
    const { identity, installation } = this.server;
    await runTool(
      path.join(installation.binDirectory, 'pg_basebackup'),
      [
        '-h',
        path.join(this.home, 'run'),
        '-p',
        String(this.port),
        '-U',
        'postgres',
        '-c',
        'fast',
        '-X',
        'stream',
        '-D',
        standby.directory,
      ],
      { identity },
    );
    const primary = `host=127.0.0.1 port=${this.port} user=${names.metroRole} password=${password} application_name=${names.metroApplication}`;
    await writeFile(
      path.join(standby.directory, 'postgresql.auto.conf'),
      renderConfiguration({
        primary_conninfo: primary,
        primary_slot_name: names.metroSlot,
        wal_receiver_status_interval: '1s',
        wal_retrieve_retry_interval: '100ms',
      }),
    );
    await writeFile(path.join(standby.directory, 'standby.signal'), '');
    await chownTo(path.join(standby.directory, 'standby.signal'), identity);
    await chownTo(path.join(standby.directory, 'postgresql.auto.conf'), identity);
    this.standbys.push(standby);
    await this.startStandbyServer(standby);
    return standby;
  }

  async startStandbyServer(standby: PostgresServer): Promise<void> {
    await standby.start({
      port: await freePort(),
      socketDirectory: path.join(this.home, 'run'),
      logFile: path.join(this.home, 'standby.log'),
    });
  }

  async remove(): Promise<void> {
    for (const server of [...this.standbys, this.server]) await server.kill9();
    await rm(this.home, { recursive: true, force: true });
  }
}

const name = (purpose: string, number: number): string => `mainstay_${purpose}_${String(number).padStart(20, '0')}`;

export const TEST_NAMES: ReplicationNames = {
  metroApplication: name('metro', 1),
  lease: name('lease', 2),
  metroSlot: name('slot', 3),
  regionalSlot: name('slot', 4),
  metroRole: name('role', 5),
  regionalRole: name('role', 6),
  regionalApplication: name('regional', 7),
};
