import { lchown, mkdir, readdir } from 'node:fs/promises';
import { Socket } from 'node:net';
import path from 'node:path';
import {
  connect,
  findPostgres,
  freePort,
  PostgresServer,
  type PostgresClient,
  quoteIdentifier,
  runTool,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { confinement } from './confinement.js';

const SUPERUSER = 'proof';
/** Reads everything and changes nothing; a session of it cannot become another role. */
export const CHECKER = 'proof_checker';
const FIRST_WITH_READ_ALL = 14;
/** Over one connection; the names and counts of 100,000 tables are some 20 MB. */
const ANSWER_BYTES_MAX = 32 * 2 ** 20;
const ROLE_STATEMENT = /^(CREATE ROLE|ALTER ROLE|GRANT) .*;$/;
/** Nobody reaches it but through a socket in a folder of its own; what is in it is thrown away. */
const SETTINGS = {
  listen_addresses: '',
  fsync: false,
  full_page_writes: false,
  synchronous_commit: false,
  wal_level: 'minimal',
  max_wal_senders: 0,
  autovacuum: false,
  shared_buffers: '64MB',
  maintenance_work_mem: '128MB',
  max_connections: 10,
  max_wal_size: '512MB',
  logging_collector: false,
} as const;

/**
 * A server that lives for one proof. It runs as the scratch's own user, and as confined as this host lets it, so that a
 * dump's code reaches nothing else.
 */
export class ScratchPostgres {
  private constructor(
    private readonly server: PostgresServer,
    private readonly folder: string,
    private readonly identity: ServerIdentity,
    private readonly port: number,
  ) {}

  /** @throws PostgresNotFoundError when this major version is not installed */
  static async start(folder: string, major: number, identity: ServerIdentity): Promise<ScratchPostgres> {
    const installation = await findPostgres({ version: major });
    const data = path.join(folder, 'data');
    // initdb wants a user with a name; the server does not.
    const made = await PostgresServer.at(installation, data);
    await made.initialise({
      superuser: SUPERUSER,
      localAuthentication: 'trust',
      hostAuthentication: 'reject',
      noSync: true,
    });
    if (identity.switched) await giveAll(data, identity);
    const server = await PostgresServer.at(installation, data, identity);
    const scratch = new ScratchPostgres(server, folder, identity, await freePort());
    await mkdir(scratch.socket, { recursive: true });
    const { launcher } = await confinement();
    await server.start({
      ...(launcher && identity.switched ? { launcher: launcher(identity) } : {}),
      port: scratch.port,
      socketDirectory: scratch.socket,
      logFile: path.join(folder, 'server.log'),
      options: SETTINGS,
    });
    const client = await scratch.connect('postgres', SUPERUSER);
    try {
      // What row-level security hides from roles of the agency's, its checks may count.
      await client.query(`CREATE ROLE ${CHECKER} LOGIN BYPASSRLS`);
      if (major >= FIRST_WITH_READ_ALL) await client.query(`GRANT pg_read_all_data TO ${CHECKER}`);
    } finally {
      await client.end();
    }
    return scratch;
  }

  get version(): string {
    return this.server.installation.version;
  }

  connect(database: string, user: string = SUPERUSER, statementTimeoutMs = 3_600_000): Promise<PostgresClient> {
    return connect({
      host: this.socket,
      port: this.port,
      user,
      database,
      applicationName: 'mainstay proof',
      connectionTimeoutMs: 20_000,
      statementTimeoutMs,
      stream: () => boundedSocket(),
    });
  }

  /**
   * Makes the roles that `pg_dumpall --globals-only` wrote, one statement a line. Whatever else stands there is passed over:
   * psql would carry out its own commands too. What is there already fails, and the load shows what is missing.
   */
  async roles(globals: string): Promise<void> {
    const client = await this.connect('postgres');
    try {
      for (const line of globals.split('\n').filter((each) => ROLE_STATEMENT.test(each))) {
        await client.query(line).catch((error: unknown) => void error);
      }
    } finally {
      await client.end();
    }
  }

  /** @throws PostgresToolError with pg_restore's words in its detail */
  async load(file: string, signal: AbortSignal): Promise<string> {
    const database = 'proof';
    const client = await this.connect('postgres');
    try {
      await client.query(`CREATE DATABASE ${quoteIdentifier(database)} TEMPLATE template0 ENCODING 'UTF8'`);
    } finally {
      await client.end();
    }
    await this.tool('pg_restore', ['-d', database, file], signal);
    return database;
  }

  /** `15` from a dump's own head. @throws PostgresToolError when it is no dump */
  static async majorOf(file: string, identity: ServerIdentity, signal: AbortSignal): Promise<number | undefined> {
    const { binDirectory } = await findPostgres();
    const { stdout } = await runTool(path.join(binDirectory, 'pg_restore'), ['-l', file], { identity, signal });
    const major = /^;\s+Dumped from database version: (\d+)/m.exec(stdout)?.[1];
    return major === undefined ? undefined : Number(major);
  }

  async stop(): Promise<void> {
    await this.server.kill9();
  }

  private get socket(): string {
    return path.join(this.folder, 'run');
  }

  private async tool(name: string, args: readonly string[], signal: AbortSignal): Promise<void> {
    const { binDirectory } = this.server.installation;
    const reach = ['-h', this.socket, '-p', String(this.port), '-U', SUPERUSER];
    await runTool(path.join(binDirectory, name), [...reach, ...args], { identity: this.identity, signal });
  }
}

/**
 * A connection that is cut when more comes than any answer needs. Whoever archived the dump says what comes: its code may
 * stand in the server's place, and a value of half a gigabyte would end this process.
 */
function boundedSocket(): Socket {
  const socket = new Socket();
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) socket.destroy(new Error('the server of the proof says too much'));
  });
  return socket;
}

/** A folder and all that is in it; links are not followed. */
export async function giveAll(folder: string, { uid, gid }: ServerIdentity): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    await lchown(path.join(entry.parentPath, entry.name), uid, gid);
  }
  await lchown(folder, uid, gid);
}
