import { statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import path from 'node:path';
import { errorCode } from '#libs/platform/errors';
import { freePort, listPostgres, ownedDirectory, renderPgpass, type PostgresClient } from '#libs/platform/postgres';
import { BackupSource, type BackupSession, type BackupTransport } from '#libs/platform/postgres/backup';
import { CopyVolume, directoryUsage, type Volume } from '#libs/sites/site/volume';
import type {
  Capacity,
  DrivenWorkload,
  Endpoint,
  FollowTarget,
  PauseResult,
  Promotion,
  SeedOptions,
  SiteBuild,
  SiteDriver,
  StandbyPhase,
  StandbyPosition,
  StandbySpecification,
  StandbyUsage,
} from './driver.js';
import { NotAStandbyError, NotSeededError, VersionUnsupportedError } from './errors.js';
import { isMarkedStandby, ManagedStandby, writeTls, type StandbyPolicy } from './managed-standby.js';
import { insufficientLimits, readPosition } from './position.js';
import { commitOnce, promoteServer, readPromotion } from './promotion.js';
import { SEED_RESERVE_BYTES, seedStandby } from './seeding.js';
import { SiteBuilds } from './site-build.js';
import { createPhysicalSlot, dropPhysicalSlot } from './slots.js';
import { mergeParameters } from './standby-configuration.js';
import { prepareSiteRoot, StandbyLayout } from './standby-paths.js';
import { loadState, replaceFile } from './standby-state.js';
import { checkLocation, linkTablespace, unlinkTablespaces } from './tablespaces.js';
import { listKeptWal } from './wal-keeping.js';
import { endWalReceiver, findWalReceiver } from './wal-receiver.js';

export interface ProcessDriverOptions {
  /** The site's folder for all of it; every folder above must let PostgreSQL's user pass. */
  readonly root: string;
  /** Where data lies; folders below `root` when left out. */
  readonly volume?: Volume;
  /** False for data that may be lost, in tests. */
  readonly durable?: boolean;
  /** WAL is kept only while the disk has this much left; a tenth of it, and 2 GB at least, when left out. */
  readonly walReserveBytes?: number;
  /** Left free beside a copy, for the WAL that arrives meanwhile; 512 MiB when left out. */
  readonly seedReserveBytes?: number;
  /** How long a start may take before the caller is told to try again; it goes on meanwhile. 60 s when left out. */
  readonly startTimeoutMs?: number;
}

const STATEMENT_MS = 10_000;

/** Warm standbys as PostgreSQL processes of the site's own host: see {@link SiteDriver} for what each operation does. */
export class ProcessDriver implements SiteDriver {
  readonly name = 'process';
  private readonly volume: Volume;
  private readonly layout: StandbyLayout;
  private readonly policy: StandbyPolicy;
  private readonly builds = new SiteBuilds();

  constructor(options: ProcessDriverOptions) {
    const root = path.resolve(options.root);
    this.volume = options.volume ?? new CopyVolume(path.join(root, 'volumes'));
    this.layout = new StandbyLayout(root, this.volume);
    this.policy = {
      listenAddress: '127.0.0.1',
      durable: options.durable ?? true,
      ...(options.walReserveBytes === undefined ? {} : { walReserveBytes: options.walReserveBytes }),
      seedReserveBytes: options.seedReserveBytes ?? SEED_RESERVE_BYTES,
      startTimeoutMs: options.startTimeoutMs ?? 60_000,
    };
  }

  async capacity(): Promise<Capacity> {
    // Asked each second: the folder is made ready only when it is not there yet.
    const { blocks, bavail, bsize } = await statfs(this.layout.root).catch(async (error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error;
      await prepareSiteRoot(this.layout.root);
      return statfs(this.layout.root);
    });
    return {
      cpus: availableParallelism(),
      memoryBytes: totalmem(),
      diskBytes: blocks * bsize,
      diskFreeBytes: bavail * bsize,
    };
  }

  async supportedMajors(): Promise<readonly number[]> {
    const installed = await listPostgres();
    return [...new Set(installed.map((each) => each.majorVersion))].sort((a, b) => b - a);
  }

  build(majorVersion: number): Promise<SiteBuild> {
    return this.builds.of(majorVersion);
  }

  async checkTablespaceDirectory(location: string): Promise<void> {
    await checkLocation(location, this.layout.root);
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
    const { majorVersion, parameters, hba, tls } = specification;
    if (!majors.includes(majorVersion)) throw new VersionUnsupportedError(majorVersion, majors);
    await prepareSiteRoot(this.layout.root);
    const paths = this.layout.of(workloadId);
    const present = await loadState(paths.stateFile);
    await ownedDirectory(paths.home);
    if (tls) await writeTls(paths.tls, tls);
    await this.volume.create(workloadId);
    const standby = await ManagedStandby.create(workloadId, paths, this.policy, {
      superuser: null,
      systemIdentifier: null,
      seeded: false,
      follow: null,
      tablespaceLinks: [],
      refused: [],
      limits: {},
      ...present,
      majorVersion,
      parameters: mergeParameters(present?.parameters ?? {}, parameters),
      hba: [...hba],
      port: specification.port ?? present?.port ?? (await freePort()),
      memoryBytes: specification.memoryBytes ?? Math.floor(totalmem() / 8),
      tls: tls !== undefined,
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

  async refusedParameters(workloadId: string): Promise<readonly string[]> {
    return (await this.load(workloadId)).state.refused;
  }

  async follow(workloadId: string, target: FollowTarget): Promise<void> {
    const { password, ...follow } = target;
    const standby = await this.seeded(workloadId);
    if (!(await isMarkedStandby(standby.paths.data))) throw new NotAStandbyError(workloadId);
    const entry = { host: '*', port: '*', database: '*', user: target.user, password } as const;
    await replaceFile(standby.paths.passfile, renderPgpass([entry]));
    await (await standby.with({ follow })).reloadSettings();
  }

  async pauseReceiving(workloadId: string, killAfterMs = 1_000): Promise<PauseResult> {
    const standby = await (await this.seeded(workloadId)).with({ follow: null });
    return endWalReceiver(await standby.server(), () => standby.reloadSettings(), killAfterMs);
  }

  async position(workloadId: string): Promise<StandbyPosition> {
    return this.using(workloadId, async (client, standby) => {
      const position = await readPosition(client);
      const insufficient =
        position.replayPaused &&
        (await insufficientLimits(client, await (await standby.server()).controlData())).length > 0;
      return { ...position, parametersInsufficient: insufficient };
    });
  }

  async raiseParameters(workloadId: string, parameters: Readonly<Record<string, string>>): Promise<boolean> {
    const standby = await this.load(workloadId);
    const raised = await standby.with({ parameters: mergeParameters(standby.state.parameters, parameters) });
    return raised.isSeeded ? raised.apply() : false;
  }

  async ensureTablespaceDirectory(workloadId: string, location: string): Promise<void> {
    const standby = await this.load(workloadId);
    const link = await linkTablespace(location, standby.paths.tablespaces, this.layout.root);
    const { tablespaceLinks } = standby.state;
    if (!tablespaceLinks.includes(link)) await standby.with({ tablespaceLinks: [...tablespaceLinks, link] });
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
      await server.stop('immediate', 15_000).catch(() => server.kill9());
      await unlinkTablespaces(state.tablespaceLinks, paths.tablespaces);
    }
    await this.layout.remove(workloadId);
  }

  async usage(workloadId: string): Promise<StandbyUsage> {
    const paths = this.layout.of(workloadId);
    const state = await loadState(paths.stateFile);
    // A kept segment that the server still has, too, is one file with two names: counted once, as data.
    const counted = new Set<string>();
    const dataBytes = await directoryUsage(path.dirname(paths.data), counted);
    const walBytes = await directoryUsage(paths.wal, counted);
    const kept = await listKeptWal(path.join(paths.wal, state?.systemIdentifier ?? 'unknown'));
    return { dataBytes, walBytes, walSegments: kept.segments.length, walMissing: kept.missing.length };
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
