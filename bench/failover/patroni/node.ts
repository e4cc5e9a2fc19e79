import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import {
  chownTo,
  freePort,
  ownedDirectory,
  type PostgresInstallation,
  PostgresServer,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { SERVER_SETTINGS } from '../settings.js';
import { Daemon } from './program.js';

export interface NodeOptions {
  readonly program: string;
  readonly installation: PostgresInstallation;
  readonly identity: ServerIdentity;
  readonly folder: string;
  readonly etcdPort: number;
  readonly adminPassword: string;
}

/** Patroni's documented defaults, written out: how long a lost leader goes unnoticed follows from them. */
const DEFAULTS = { ttl: 30, loop_wait: 10, retry_timeout: 10 } as const;

const cluster = z.object({
  members: z.array(
    z.object({
      name: z.string(),
      role: z.string(),
      state: z.string(),
      lag: z.union([z.number(), z.string()]).optional(),
    }),
  ),
});
export type ClusterMember = z.infer<typeof cluster>['members'][number];

/** One Patroni with its PostgreSQL: a machine of the cluster. */
export class PatroniNode {
  private constructor(
    readonly name: string,
    readonly restPort: number,
    readonly port: number,
    readonly server: PostgresServer,
    private readonly daemon: Daemon,
  ) {}

  static async create(name: string, options: NodeOptions): Promise<PatroniNode> {
    const directory = await ownedDirectory(path.join(options.folder, name), options.identity);
    const [restPort, port] = [await freePort(), await freePort()];
    const server = await PostgresServer.at(options.installation, path.join(directory, 'data'));
    const file = path.join(directory, 'patroni.yml');
    // JSON is YAML.
    const text = JSON.stringify(configuration(name, restPort, port, directory, options), null, 2);
    await writeFile(file, text, { mode: 0o600 });
    await chownTo(file, options.identity);
    const log = path.join(directory, 'patroni.log');
    return new PatroniNode(name, restPort, port, server, new Daemon(options.program, [file], log, options.identity));
  }

  /** Starts Patroni, which starts its PostgreSQL. */
  start(): Promise<void> {
    return this.daemon.start();
  }

  killPostgres(): Promise<void> {
    return this.server.kill9();
  }

  /** The machine is lost: Patroni first, or it would see its server die and give the leader key back. */
  async killAll(): Promise<void> {
    await this.daemon.kill9();
    await this.server.kill9();
  }

  /** The cluster as this node sees it. */
  async members(): Promise<ClusterMember[]> {
    const response = await fetch(`http://127.0.0.1:${this.restPort}/cluster`);
    return cluster.parse(await response.json()).members;
  }

  /** Patroni's own order: {@link https://patroni.readthedocs.io/en/latest/rest_api.html POST /failover}. */
  async failover(leader: string, candidate: string): Promise<{ status: number; answer: string }> {
    const response = await fetch(`http://127.0.0.1:${this.restPort}/failover`, {
      method: 'POST',
      body: JSON.stringify({ leader, candidate }),
    });
    return { status: response.status, answer: await response.text() };
  }
}

function configuration(name: string, restPort: number, port: number, directory: string, options: NodeOptions) {
  const login = { username: 'postgres', password: options.adminPassword };
  const network = '127.0.0.1/32';
  return {
    scope: 'bench',
    name,
    restapi: { listen: `127.0.0.1:${restPort}`, connect_address: `127.0.0.1:${restPort}` },
    etcd3: { host: `127.0.0.1:${options.etcdPort}` },
    watchdog: { mode: 'off' },
    bootstrap: {
      dcs: { ...DEFAULTS, postgresql: { use_pg_rewind: true, use_slots: true } },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C.UTF-8' }, 'data-checksums'],
      pg_hba: [`host all all ${network} scram-sha-256`, `host replication all ${network} scram-sha-256`],
    },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${port}`,
      data_dir: path.join(directory, 'data'),
      bin_dir: options.installation.binDirectory,
      // Only for making the replica: the default waits for a checkpoint spread over minutes.
      basebackup: [{ checkpoint: 'fast' }],
      pgpass: path.join(directory, 'pgpass'),
      authentication: { superuser: login, replication: login, rewind: login },
      parameters: {
        shared_buffers: SERVER_SETTINGS.shared_buffers,
        password_encryption: 'scram-sha-256',
        unix_socket_directories: directory,
      },
    },
  };
}
