import { totalmem } from 'node:os';
import path from 'node:path';
import {
  freePort,
  keptDirectory,
  listPostgres,
  renderPgpass,
  type HbaRule,
  type PostgresClient,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { BackupSource, type BackupSession, type BackupTransport } from '#libs/platform/postgres/backup';
import { CopyVolume, type Volume } from '#libs/sites/site/volume';
import type {
  Capacity,
  DrivenWorkload,
  Endpoint,
  FollowTarget,
  PauseResult,
  Promotion,
  SeedOptions,
  ServerCertificate,
  SiteBuild,
  SiteDriver,
  StandbyPhase,
  StandbyPosition,
  StandbySpecification,
  StandbyUsage,
  Tablespace,
} from './driver.js';
import { capacityOf } from './disk-shares.js';
import { NotAStandbyError, NotSeededError, VersionUnsupportedError } from './errors.js';
import { ManagedStandby, type StandbyPolicy } from './managed-standby.js';
import { policyOf, type ProcessDriverOptions } from './process-driver-options.js';
import { readPosition } from './position.js';
import { commitOnce, promoteServer, readPromotion } from './promotion.js';
import { unlessUnknown, withKnownLibraries } from './preload-libraries.js';
import { seedStandby } from './seeding.js';
import { SiteBuilds } from './site-build.js';
import { createPhysicalSlot, dropPhysicalSlot } from './slots.js';
import { mergeParameters } from './standby-configuration.js';
import { isMarkedStandby, readCertificate } from './standby-files.js';
import { prepareSiteRoot, StandbyLayout } from './standby-paths.js';
import { loadState, replaceFile, UNSEEDED } from './standby-state.js';
import {
  checkLocation,
  DEFAULT_TABLESPACE_ROOTS,
  hasTablespace,
  linkTablespace,
  unlinkTablespaces,
} from './tablespaces.js';
import { usageOf } from './usage.js';
import { endWalReceiver, findWalReceiver } from './wal-receiver.js';
import { WorkloadUsers } from './workload-users.js';

const STATEMENT_MS = 10_000;

/** Warm standbys as PostgreSQL processes of the site's own host: see {@link SiteDriver} for what each operation does. */
export class ProcessDriver implements SiteDriver {
  readonly name = 'process';
  private readonly volume: Volume;
  private readonly layout: StandbyLayout;
  private readonly policy: StandbyPolicy;
  private readonly builds = new SiteBuilds();
  private readonly users: WorkloadUsers;

  constructor(private readonly options: ProcessDriverOptions) {
    const root = path.resolve(options.root);
    this.volume = options.volume ?? new CopyVolume(path.join(root, 'volumes'));
    this.layout = new StandbyLayout(root, this.volume);
    this.users = new WorkloadUsers(options.uids);
    this.policy = policyOf(options, this.users);
  }

  /** Whether each workload's server is kept from the others by a user of its own; to be said at the start. */
  get separatesWorkloads(): boolean {
    return this.users.areSeparate;
  }

  async capacity(): Promise<Capacity> {
    return capacityOf(this.layout.root, () => this.prepareRoot());
  }

  async supportedMajors(): Promise<readonly number[]> {
    const installed = await listPostgres();
    return [...new Set(installed.map((each) => each.majorVersion))].sort((a, b) => b - a);
  }

  build(majorVersion: number): Promise<SiteBuild> {
    return this.builds.of(majorVersion);
  }

  async checkTablespaceDirectory(location: string): Promise<void> {
    await checkLocation(location, this.options.tablespaceRoots ?? DEFAULT_TABLESPACE_ROOTS);
  }

  async list(): Promise<readonly DrivenWorkload[]> {
    const found = await this.layout.workloads();
    return Promise.all(
      // Without a state it is the rest of a removal that was cut off.
      found.map(async (workloadId) => ({ workloadId, phase: (await this.phase(workloadId)) ?? 'prepared' })),
    );
  }

  async phase(workloadId: string): Promise<StandbyPhase | undefined> {
    const state = await loadState(this.layout.of(workloadId).stateFile);
    return state && (await this.load(workloadId)).phase();
  }

  async prepareStandby(workloadId: string, specification: StandbySpecification): Promise<Endpoint> {
    const majors = await this.supportedMajors();
    const { majorVersion, parameters, hba } = specification;
    if (!majors.includes(majorVersion)) throw new VersionUnsupportedError(majorVersion, majors);
    const known = await withKnownLibraries(parameters, () => this.build(majorVersion));
    const paths = this.layout.of(workloadId);
    await this.prepareRoot(await this.users.of(paths.volume));
    const present = await loadState(paths.stateFile);
    await keptDirectory(paths.home);
    await this.volume.create(workloadId);
    const identity = await this.users.ensure(paths);
    for (const each of [paths.volume, paths.home]) await keptDirectory(each, identity);
    const standby = await ManagedStandby.create(workloadId, paths, this.policy, {
      ...UNSEEDED,
      ...present,
      majorVersion,
      parameters: mergeParameters(present?.parameters ?? {}, known),
      hba: [...(hba ?? present?.hba ?? [])],
      port: specification.port ?? present?.port ?? (await freePort()),
      memoryBytes: specification.memoryBytes ?? Math.floor(totalmem() / 8),
    });
    if (!standby.isSeeded) return standby.endpoint;
    if (present && present.port !== standby.state.port) await standby.stop();
    await standby.apply();
    return present && present.port !== standby.state.port ? this.ensureRunning(workloadId) : standby.endpoint;
  }

  async seed(workloadId: string, source: BackupTransport, options: SeedOptions): Promise<BackupSession> {
    return seedStandby(await this.load(workloadId), source, options, this.policy);
  }

  async ensureRunning(workloadId: string): Promise<Endpoint> {
    const standby = await (await this.load(workloadId)).start();
    return standby.endpoint;
  }

  async ensureStopped(workloadId: string): Promise<void> {
    await (await this.load(workloadId)).stop();
  }

  async endpoint(workloadId: string): Promise<Endpoint> {
    return (await this.load(workloadId)).endpoint;
  }

  async certificate(workloadId: string): Promise<string | undefined> {
    const { state, paths } = await this.load(workloadId);
    return state.tls ? readCertificate(paths.certificate) : undefined;
  }

  async useCertificate(workloadId: string, certificate: ServerCertificate): Promise<void> {
    await (await this.load(workloadId)).useCertificate(certificate);
  }

  async refusedParameters(workloadId: string): Promise<readonly string[]> {
    return (await this.load(workloadId)).state.refused;
  }

  async follow(workloadId: string, target: FollowTarget): Promise<void> {
    const { password, ...follow } = target;
    const standby = await this.seeded(workloadId);
    if (!(await isMarkedStandby(standby.paths.data))) throw new NotAStandbyError(workloadId);
    const entry = { host: '*', port: '*', database: '*', user: target.user, password } as const;
    await replaceFile(standby.paths.passfile, renderPgpass([entry]), standby.identity);
    await (await standby.with({ follow, followedAs: follow.user })).reloadSettings();
  }

  async pauseReceiving(workloadId: string, killAfterMs = 1_000): Promise<PauseResult> {
    const standby = await (await this.seeded(workloadId)).with({ follow: null });
    return endWalReceiver(await standby.server(), () => standby.reloadSettings(), killAfterMs);
  }

  async position(workloadId: string): Promise<StandbyPosition> {
    return this.using(workloadId, async (client, standby) => readPosition(client, await standby.server()));
  }

  async raiseParameters(workloadId: string, parameters: Readonly<Record<string, string>>): Promise<boolean> {
    const standby = await this.load(workloadId);
    const { majorVersion, parameters: present } = standby.state;
    const known = await unlessUnknown(parameters, () => this.build(majorVersion));
    const raised = await standby.with({ parameters: mergeParameters(present, known) });
    return raised.isSeeded ? raised.apply() : false;
  }

  async admit(workloadId: string, rules: readonly HbaRule[]): Promise<void> {
    await (await this.load(workloadId)).admit(rules);
  }

  async ensureTablespaceDirectory(workloadId: string, { oid, location }: Tablespace): Promise<void> {
    const standby = await this.load(workloadId);
    const { paths, identity: owner, state } = standby;
    if (await hasTablespace(paths.data, oid)) return;
    const links = state.tablespaceLinks;
    const roots = this.options.tablespaceRoots ?? DEFAULT_TABLESPACE_ROOTS;
    const link = await linkTablespace(location, { roots, folder: paths.tablespaces, owner, links });
    if (!links.includes(link)) await standby.with({ tablespaceLinks: [...links, link] });
  }

  async promote(workloadId: string): Promise<Promotion> {
    const standby = await this.seeded(workloadId);
    await standby.start();
    const following = standby.state.follow !== null || (await findWalReceiver(await standby.server()));
    if (following) await this.pauseReceiving(workloadId);
    await this.unblockReplay(workloadId);
    const client = await this.connect(workloadId, 'mainstay promotion');
    try {
      await promoteServer(client);
      return await readPromotion(client, standby.paths.data);
    } finally {
      await client.end();
    }
  }

  checkWritable(workloadId: string): Promise<void> {
    return this.using(workloadId, commitOnce);
  }

  createSlot(workloadId: string, slotName: string): Promise<void> {
    return this.using(workloadId, (client) => createPhysicalSlot(client, slotName));
  }

  dropSlot(workloadId: string, slotName: string): Promise<void> {
    return this.using(workloadId, (client) => dropPhysicalSlot(client, slotName));
  }

  async connect(workloadId: string, applicationName: string, database?: string): Promise<PostgresClient> {
    return (await this.seeded(workloadId)).connect(applicationName, database);
  }

  async backupSource(workloadId: string): Promise<BackupSource> {
    const standby = await this.seeded(workloadId);
    return new BackupSource({
      dataDirectory: standby.paths.data,
      connect: () => this.connect(workloadId, 'mainstay backup source'),
    });
  }

  async remove(workloadId: string): Promise<void> {
    const paths = this.layout.of(workloadId);
    const state = await loadState(paths.stateFile);
    if (state) {
      const server = await (await this.load(workloadId)).server();
      // Whatever kept it from stopping, it is killed; what keeps it from that is thrown.
      await server.stop('immediate', 15_000).catch(() => server.kill9());
      await unlinkTablespaces(state.tablespaceLinks, paths.tablespaces);
    }
    await this.users.endProcesses(paths.volume);
    await this.layout.remove(workloadId);
    await this.users.release(paths.home);
  }

  async usage(workloadId: string): Promise<StandbyUsage> {
    return usageOf(this.layout.of(workloadId));
  }

  private async prepareRoot(user?: ServerIdentity): Promise<void> {
    await prepareSiteRoot(this.layout.root, user ?? (await this.users.sample()));
  }

  private load(workloadId: string): Promise<ManagedStandby> {
    return ManagedStandby.load(workloadId, this.layout.of(workloadId), this.policy);
  }

  private async seeded(workloadId: string): Promise<ManagedStandby> {
    const standby = await this.load(workloadId);
    if (!standby.isSeeded) throw new NotSeededError(workloadId);
    return standby;
  }

  private async using<T>(
    workloadId: string,
    work: (client: PostgresClient, standby: ManagedStandby) => Promise<T>,
  ): Promise<T> {
    const standby = await this.seeded(workloadId);
    const client = await standby.connect('mainstay site', 'postgres', STATEMENT_MS);
    try {
      return await work(client, standby);
    } finally {
      await client.end();
    }
  }

  /** A paused replay would make the promotion wait, or stop the server where the primary's limits are higher. */
  private async unblockReplay(workloadId: string): Promise<void> {
    const { replayPaused, parametersInsufficient } = await this.position(workloadId);
    if (parametersInsufficient) await this.raiseParameters(workloadId, {});
    else if (replayPaused) await this.using(workloadId, (client) => client.query('SELECT pg_wal_replay_resume()'));
  }
}
