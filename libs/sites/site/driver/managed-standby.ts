import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { waitFor } from '#libs/platform/clock';
import { errorCode } from '#libs/platform/errors';
import {
  clusterVersion,
  connect,
  findPostgres,
  freePort,
  keptDirectory,
  ownedDirectory,
  PostgresServer,
  PostgresServerError,
  renderConfiguration,
  renderHba,
  serverIdentity,
  type HbaRule,
  type PostgresClient,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { isIncomplete } from '#libs/platform/postgres/backup';
import { refusedSettings } from './refused-settings.js';
import type { Endpoint, ServerCertificate, StandbyPhase } from './driver.js';
import { NotPreparedError, NotSeededError } from './errors.js';
import { slotBudget, walReserve } from './disk-shares.js';
import { limitsOf } from './position.js';
import { standbyHba, standbySettings } from './standby-configuration.js';
import { writeCertificate } from './standby-files.js';
import type { StandbyPaths } from './standby-paths.js';
import { loadState, renderFile, saveState, type StandbyState } from './standby-state.js';
import { anybodysSession, connectPatiently, siteSession } from './site-session.js';
import { keepWalScript } from './wal-keeping.js';
import type { WorkloadUsers } from './workload-users.js';

export interface StandbyPolicy {
  readonly listenAddress: string;
  readonly durable: boolean;
  /** WAL is kept only while the disk has this much left; a share of the disk when left out. */
  readonly walReserveBytes?: number;
  /** Left free beside a copy, for the WAL that arrives meanwhile. */
  readonly seedReserveBytes: number;
  readonly startTimeoutMs: number;
  readonly users: WorkloadUsers;
}

const NO_SUCH_DATABASE = '3D000';
const NO_SUCH_ROLE = '28000';

/** One standby of this host: its state file, the files rendered from it, and its server. */
export class ManagedStandby {
  private constructor(
    readonly workloadId: string,
    readonly paths: StandbyPaths,
    readonly state: StandbyState,
    private readonly policy: StandbyPolicy,
    /** Whose its data and its server are. */
    readonly identity: ServerIdentity,
  ) {}

  /** @throws NotPreparedError */
  static async load(workloadId: string, paths: StandbyPaths, policy: StandbyPolicy): Promise<ManagedStandby> {
    const state = await loadState(paths.stateFile);
    if (!state) throw new NotPreparedError(workloadId);
    // Without a volume it is the rest of a removal that was cut off: there is nothing to own.
    const identity = (await policy.users.of(paths.volume)) ?? (await serverIdentity());
    return new ManagedStandby(workloadId, paths, state, policy, identity);
  }

  /** Writes its state. Its folder and its volume are there, and are somebody's. */
  static async create(workloadId: string, paths: StandbyPaths, policy: StandbyPolicy, state: StandbyState) {
    await saveState(paths.stateFile, state);
    return ManagedStandby.load(workloadId, paths, policy);
  }

  /** Lets only this process change names above the data: its user has what lies below, and no other user comes there. */
  async secure(): Promise<void> {
    const { home, volume, wal } = this.paths;
    if (!(await this.policy.users.of(volume))) throw new NotPreparedError(this.workloadId);
    for (const each of [home, volume, wal]) await keptDirectory(each, this.identity);
  }

  /** The same standby with another state, which is on disk before this returns. */
  async with(change: Partial<StandbyState>): Promise<ManagedStandby> {
    const state = { ...this.state, ...change };
    await saveState(this.paths.stateFile, state);
    return new ManagedStandby(this.workloadId, this.paths, state, this.policy, this.identity);
  }

  async server(): Promise<PostgresServer> {
    const installation = await findPostgres({ version: this.state.majorVersion });
    return PostgresServer.at(installation, this.paths.data, this.identity);
  }

  async phase(): Promise<StandbyPhase> {
    if (this.state.seeded) return (await (await this.server()).isRunning()) ? 'running' : 'stopped';
    const begun = (await isIncomplete(this.paths.data)) || (await clusterVersion(this.paths.data)) !== undefined;
    return begun ? 'seeding' : 'prepared';
  }

  get endpoint(): Endpoint {
    return { host: this.policy.listenAddress, port: this.state.port };
  }

  get isSeeded(): boolean {
    return this.state.seeded;
  }

  /**
   * Makes the configuration whole: limits from pg_control, settings tried out, every file rendered. The server reads
   * them when it is told to. Only once there is data.
   */
  async writeConfiguration(): Promise<ManagedStandby> {
    const server = await this.server();
    const wal = path.join(this.paths.wal, this.state.systemIdentifier ?? 'unknown');
    await this.secure();
    for (const directory of [wal, this.paths.logDirectory]) await ownedDirectory(directory, this.identity);
    const reserve = this.policy.walReserveBytes ?? (await walReserve(wal));
    await renderFile(this.paths.archiveScript, keepWalScript(wal, reserve), this.identity, 0o700);
    const limited = { ...this.state, limits: limitsOf(await server.controlData()) };
    const slotBytesMax = await slotBudget(this.paths.data);
    const refused = await refusedSettings(server, limited, (state) => this.render(state, slotBytesMax));
    const standby = await this.with({ ...limited, refused });
    await standby.writeFiles(slotBytesMax);
    return standby;
  }

  private async writeFiles(slotBytesMax: number): Promise<void> {
    const render = (name: string, text: string) => renderFile(path.join(this.paths.data, name), text, this.identity);
    await render('postgresql.conf', this.render(this.state, slotBytesMax));
    await render('pg_hba.conf', renderHba(standbyHba(this.state)));
    await render('pg_ident.conf', '');
    // The source's would carry its synchronous_standby_names.
    await render('postgresql.auto.conf', '');
  }

  private render(state: StandbyState, slotBytesMax: number): string {
    return renderConfiguration(standbySettings(state, { ...this.policy, paths: this.paths, slotBytesMax }));
  }

  /** Renders, reloads, and restarts where a setting needs it. True when it restarted. */
  async apply(): Promise<boolean> {
    const standby = await this.writeConfiguration();
    const server = await this.server();
    if (!(await server.isRunning())) return false;
    if (!(await standby.reload(server))) return false;
    await standby.stop();
    await standby.start();
    return true;
  }

  /** See {@link SiteDriver.useCertificate}. */
  async useCertificate(certificate: ServerCertificate): Promise<void> {
    await writeCertificate(this.paths.certificate, certificate, this.identity);
    const standby = await this.with({ tls: true });
    if (standby.isSeeded) await standby.reloadSettings();
  }

  /** See {@link SiteDriver.admit}. */
  async admit(rules: readonly HbaRule[]): Promise<void> {
    if (isDeepStrictEqual(this.state.hba, rules)) return;
    const state = { ...this.state, hba: [...rules] };
    const standby = new ManagedStandby(this.workloadId, this.paths, state, this.policy, this.identity);
    if (standby.isSeeded) await standby.reloadSettings();
    // Last: a process that is killed before does all of it once more.
    await standby.with({});
  }

  /** Renders and reloads at once, restarting nothing: for a change of whom it follows, on the way of a failover. */
  async reloadSettings(): Promise<void> {
    await this.writeFiles(await slotBudget(this.paths.data));
    await (await this.server()).reload();
  }

  /** @throws NotSeededError, PostgresServerError */
  async start(): Promise<ManagedStandby> {
    if (!this.state.seeded || (await isIncomplete(this.paths.data))) throw new NotSeededError(this.workloadId);
    const server = await this.server();
    if (await server.isRunning()) {
      await this.launch(server);
      return this;
    }
    const standby = await this.writeConfiguration();
    try {
      await standby.launch(server);
      return standby;
    } catch (error) {
      if (!isPortTaken(error)) throw error;
      // Another program took the port while the server was down.
      const moved = await standby.with({ port: await freePort() });
      await moved.launch(server);
      return moved;
    }
  }

  async stop(): Promise<void> {
    const server = await this.server();
    // However one way failed, the next is harsher; the failure of the last is thrown.
    await server
      .stop('fast', 30_000)
      .catch(() => server.stop('immediate', 15_000))
      .catch(() => server.kill9());
  }

  /** Signs in as the cluster's superuser by the site's own socket; waits for a server that is just starting. */
  async connect(applicationName: string, database = 'postgres', statementTimeoutMs?: number): Promise<PostgresClient> {
    const { superuser, majorVersion } = this.state;
    const user = superuser ?? 'postgres';
    const signIn = (name: string) =>
      this.signIn(user, name, applicationName, siteSession(majorVersion, statementTimeoutMs));
    try {
      return await signIn(database);
    } catch (error) {
      // The agency may have dropped its database "postgres", or renamed its superuser.
      if (errorCode(error) === NO_SUCH_DATABASE && database === 'postgres') return signIn('template1');
      const renamed = errorCode(error) === NO_SUCH_ROLE ? await this.withSuperuserNow() : undefined;
      if (!renamed) throw error;
      return renamed.connect(applicationName, database, statementTimeoutMs);
    }
  }

  private signIn(user: string, database: string, applicationName: string, settings: Record<string, string>) {
    const { port } = this.state;
    return connectPatiently(() =>
      connect({ host: this.paths.sockets, port, user, database, applicationName, settings }),
    );
  }

  /** Undefined when the superuser is called as before, or nobody else can be asked. */
  private async withSuperuserNow(): Promise<ManagedStandby | undefined> {
    const user = this.state.follow?.user ?? this.state.followedAs;
    if (user === undefined) return undefined;
    const signIn = (database: string) =>
      this.signIn(user, database, 'mainstay superuser', anybodysSession(this.state.majorVersion));
    // Which of the two the agency has dropped, or closed to roles like this one, is not known.
    const client = await signIn('postgres').catch(() => signIn('template1'));
    try {
      const { rows } = await client.query<{ name: string }>('SELECT rolname AS name FROM pg_roles WHERE oid = 10');
      const superuser = rows[0]?.name;
      if (superuser === undefined || superuser === (this.state.superuser ?? 'postgres')) return undefined;
      // Whom it follows may have changed while the server was asked.
      const now = await ManagedStandby.load(this.workloadId, this.paths, this.policy);
      return await now.with({ superuser });
    } finally {
      await client.end();
    }
  }

  private async launch(server: PostgresServer): Promise<void> {
    await mkdir(path.dirname(this.paths.sockets), { recursive: true, mode: 0o711 });
    await server.start({
      port: this.state.port,
      socketDirectory: this.paths.sockets,
      logFile: this.paths.startLog,
      timeoutMs: this.policy.startTimeoutMs,
    });
  }

  /** True when a changed setting waits for a restart. */
  private async reload(server: PostgresServer): Promise<boolean> {
    const loadedAt = async () => {
      const client = await this.connect('mainstay settings');
      try {
        const { rows } = await client.query<{ at: Date; pending: boolean }>(
          `SELECT pg_conf_load_time() AS at,
                  EXISTS (SELECT 1 FROM pg_settings WHERE pending_restart AND name <> 'port') AS pending`,
        );
        return rows[0];
      } finally {
        await client.end();
      }
    };
    const before = await loadedAt();
    await server.reload();
    // A new connection inherits what the postmaster has read by then.
    const after = await waitFor(
      'the server to read its settings',
      async () => {
        const now = await loadedAt();
        return now && before && now.at > before.at ? now : undefined;
      },
      { timeoutMs: 10_000, everyMs: 10 },
    );
    return after.pending;
  }
}

function isPortTaken(error: unknown): boolean {
  return error instanceof PostgresServerError && /could not (bind|create any TCP)/.test(error.detail ?? '');
}
