import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  connect,
  findPostgres,
  freePort,
  ownedDirectory,
  type PostgresClient,
  PostgresServer,
  runTool,
  signalProcess,
  withClient,
} from '#libs/platform/postgres';
import { ifPresent } from '#libs/platform/errors';
import { compileCache, entryPoint } from '../entry-points.js';
import { type ProcessTable } from '../process-table.js';
import { SupervisedProcess } from '../supervisor.js';
import { LEDGER_TABLE } from './acknowledged-writer.js';
import { FileShare, SHARE_WORKLOAD } from './file-share.js';

const AGENT = entryPoint('agent');
export const DATABASE = 'permits';
export const CLERK = 'permits_desk';
export const WORKLOAD = 'permits';

export interface AgencyMachineOptions {
  readonly directory: string;
  /** Short: a Unix socket's path has some 100 characters at most. */
  readonly socketDirectory: string;
  readonly processes: ProcessTable;
  /** Scale of pgbench's tables, 15 MB each. */
  readonly scale?: number;
}

interface MachineRecord {
  readonly port: number;
  readonly adminPassword: string;
  readonly clerkPassword: string;
}

/**
 * The server room of a small town: a PostgreSQL server with a permits database, and a Mainstay agent beside it. Real
 * processes that share nothing with Mainstay but the loopback interface.
 */
export class AgencyMachine {
  private constructor(
    private readonly options: AgencyMachineOptions,
    readonly record: MachineRecord,
    readonly server: PostgresServer,
    readonly agent: SupervisedProcess,
  ) {}

  static async at(options: AgencyMachineOptions): Promise<AgencyMachine> {
    await mkdir(options.directory, { recursive: true });
    await chmod(options.directory, 0o711);
    await ownedDirectory(path.join(options.directory, 'postgres'));
    const record = await machineRecord(path.join(options.directory, 'machine.json'));
    const server = await PostgresServer.at(await findPostgres(), path.join(options.directory, 'postgres', 'data'));
    const agent = new SupervisedProcess(
      {
        name: `agent ${path.basename(options.directory)}`,
        entry: AGENT,
        arguments: ['run', '--config', path.join(options.directory, 'agent')],
        environment: { NODE_NO_WARNINGS: '1', NODE_ENV: 'production', NODE_COMPILE_CACHE: compileCache() },
        ready: () => Promise.resolve(true),
      },
      path.join(options.directory, 'logs'),
      options.processes,
    );
    return new AgencyMachine(options, record, server, agent);
  }

  get port(): number {
    return this.record.port;
  }

  /** The town clerk's files, beside the server. */
  get share(): FileShare {
    return new FileShare(path.join(this.options.directory, 'share'));
  }

  get stateDirectory(): string {
    return path.join(this.options.directory, 'agent');
  }

  /** Makes the server with its permits database the first time, and starts it. */
  async startServer(): Promise<void> {
    await this.server.initialise({ superuser: 'postgres', password: this.record.adminPassword });
    await ownedDirectory(this.options.socketDirectory);
    await this.server.start({
      port: this.record.port,
      socketDirectory: this.options.socketDirectory,
      logFile: path.join(this.options.directory, 'postgres', 'log'),
      options: { listen_addresses: '127.0.0.1', shared_buffers: '64MB' },
    });
  }

  /** The permits desk's tables and its role, and pgbench's tables beside them. */
  async fill(): Promise<void> {
    await withClient(this.admin('postgres'), async (client) => {
      const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [DATABASE]);
      if (rowCount) return;
      await client.query(`CREATE ROLE ${CLERK} LOGIN PASSWORD '${this.record.clerkPassword}'`);
      await client.query(`CREATE DATABASE ${DATABASE} OWNER ${CLERK}`);
    });
    const bench = path.join(this.server.installation.binDirectory, 'pgbench');
    await withClient(this.clerk(), async (client) => {
      await client.query(LEDGER_TABLE);
      await client.query(`CREATE TABLE IF NOT EXISTS permit (
        number integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY, applicant text NOT NULL, kind text NOT NULL,
        filed_on date NOT NULL DEFAULT current_date)`);
      await client.query(`INSERT INTO permit (applicant, kind)
        SELECT 'Applicant ' || n, (ARRAY['building','electrical','septic','right of way'])[1 + n % 4]
          FROM generate_series(1, 500) n WHERE NOT EXISTS (SELECT FROM permit)`);
      const { rows } = await client.query<{ made: boolean }>(
        `SELECT to_regclass('pgbench_accounts') IS NOT NULL AS made`,
      );
      if (rows[0]?.made) return;
      await runTool(bench, ['-i', '-q', '-s', String(this.options.scale ?? 2), ...this.clerkArguments()], {
        env: { PGPASSWORD: this.record.clerkPassword },
      });
    });
  }

  /** Writes agent.json and enrols the agent with a one-time token; its key is made here and stays here. */
  async enrol(token: string, controlUrl: string): Promise<void> {
    await mkdir(this.stateDirectory, { recursive: true, mode: 0o700 });
    const passwordFile = path.join(this.stateDirectory, 'postgres.password');
    await writeFile(passwordFile, this.record.adminPassword, { mode: 0o600 });
    const database = {
      name: WORKLOAD,
      port: this.record.port,
      user: 'postgres',
      passwordFile,
      dataDirectory: this.server.directory,
    };
    const files = { name: SHARE_WORKLOAD, kind: 'files', paths: [this.share.directory] };
    await writeFile(
      path.join(this.stateDirectory, 'agent.json'),
      `${JSON.stringify({ workloads: [database, files] }, null, 2)}\n`,
    );
    const tokenFile = path.join(this.stateDirectory, 'token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    await this.runAgent(['enroll', '--token-file', tokenFile, '--control-url', controlUrl]);
    await rm(tokenFile);
  }

  /** Runs one of the agent's commands and returns what it prints. */
  async runAgent(args: readonly string[]): Promise<string> {
    const { stdout } = await runTool(process.execPath, [AGENT, ...args, '--config', this.stateDirectory], {
      timeoutMs: 60_000,
    });
    return stdout;
  }

  admin(database: string): Parameters<typeof connect>[0] {
    return this.connection('postgres', this.record.adminPassword, database);
  }

  clerk(port = this.record.port): Parameters<typeof connect>[0] {
    return { ...this.connection(CLERK, this.record.clerkPassword, DATABASE), port };
  }

  /** pgbench's arguments for this server as the clerk. */
  clerkArguments(port = this.record.port): string[] {
    return ['-h', '127.0.0.1', '-p', String(port), '-U', CLERK, DATABASE];
  }

  connectAdmin(): Promise<PostgresClient> {
    return connect(this.admin(DATABASE));
  }

  private connection(user: string, password: string, database: string): Parameters<typeof connect>[0] {
    return { host: '127.0.0.1', port: this.record.port, user, password, database, applicationName: 'permits desk' };
  }

  /** The building floods: server and agent are gone in the same moment, and nothing is written any more. */
  async destroy(): Promise<void> {
    const agentGone = this.killAgent();
    await this.server.kill9();
    await agentGone;
  }

  private async killAgent(): Promise<void> {
    await this.agent.kill();
    await killProcessesOf(this.stateDirectory);
  }

  async stop(): Promise<void> {
    await this.agent.stop();
    await killProcessesOf(this.stateDirectory);
    await this.server.stop('fast').catch(() => this.server.stop('immediate'));
  }
}

async function machineRecord(file: string): Promise<MachineRecord> {
  const text = await ifPresent(readFile(file, 'utf8'));
  if (text !== undefined) return JSON.parse(text) as MachineRecord;
  const password = (): string => randomBytes(18).toString('base64url');
  const record = { port: await freePort(), adminPassword: password(), clerkPassword: password() };
  await writeFile(file, JSON.stringify(record), { mode: 0o600 });
  return record;
}

/** Kills the agent's two processes by the ids that they wrote down; a pid that is somebody else's by now is left alone. */
async function killProcessesOf(stateDirectory: string): Promise<void> {
  for (const name of ['run.pid', 'tunnel.pid']) {
    const pid = Number.parseInt((await ifPresent(readFile(path.join(stateDirectory, name), 'utf8'))) ?? '', 10);
    if (!(pid > 1)) continue;
    // One that ends while its command line is read has none.
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(stateDirectory)) signalProcess(pid, 'SIGKILL');
  }
}
