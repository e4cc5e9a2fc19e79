import type { HbaRule, PostgresClient } from '#libs/platform/postgres';
import type { BackupSession, BackupTransport } from '#libs/platform/postgres/backup';

/** What a site has, and what is left of it. */
export interface Capacity {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly diskFreeBytes: number;
}

/** What a site's PostgreSQL of one version is: a standby is a copy of files, and can use no others than its like wrote. */
export interface SiteBuild {
  readonly majorVersion: number;
  /** `x86_64-pc-linux-gnu`; null when it does not say. */
  readonly platform: string | null;
  /** Fixed when it was compiled: block_size, wal_block_size, segment_size. */
  readonly settings: Readonly<Record<string, string>>;
  /** Versions that can be had, by extension. */
  readonly extensions: Readonly<Record<string, readonly string[]>>;
  /** Names of the libraries that it can load, without their ending. */
  readonly libraries: readonly string[];
  /** Of the operating system, as PostgreSQL sees them: `en_US.utf8`. */
  readonly locales: readonly string[];
  /** Of `libc` and `icu`, where they have one. */
  readonly collations: readonly { readonly provider: string; readonly version: string }[];
}

export interface StandbySpecification {
  /** The agency's major version: a standby runs the same. */
  readonly majorVersion: number;
  /**
   * The primary's settings by name, as text. max_connections and the like must not be below the primary's. Those that
   * the site decides itself (files, addresses, replication, logging, archive) are left out by the driver.
   */
  readonly parameters: Readonly<Record<string, string>>;
  /**
   * How clients sign in once it is promoted; the front door comes from the loopback address. As before when left out: of a
   * new standby nobody does.
   */
  readonly hba?: readonly HbaRule[];
  /** TCP port on the loopback address; the driver chooses one when left out. Kept once chosen. */
  readonly port?: number;
  /** Sizes its memory settings; an eighth of the site's memory when left out. */
  readonly memoryBytes?: number;
}

/** What a server shows to clients that ask for TLS, PEM both. */
export interface ServerCertificate {
  readonly certificate: string;
  /** Written to a file of mode 0600 of the standby's user and nowhere else. */
  readonly key: string;
}

export interface Tablespace {
  readonly oid: number;
  /** Where it lies at the primary. */
  readonly location: string;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface SeedOptions {
  /** Names this standby at the source; unique per site and workload. */
  readonly label: string;
  readonly bandwidthBytesPerSecond?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: SeedProgress) => void;
}

export interface SeedProgress {
  readonly bytesTotal: number;
  /** In place here, whether transferred or found by hash. */
  readonly bytesDone: number;
  /** Crossed the line, all attempts together. */
  readonly bytesTransferred: number;
  readonly startedAt: Date;
  /** Of the last ten seconds. */
  readonly bytesPerSecond: number;
  /** Null while the rate is not known. */
  readonly secondsLeft: number | null;
}

/** Whom a standby streams from. */
export interface FollowTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Written to a passfile of mode 0600 and nowhere else. */
  readonly password: string;
  readonly slotName: string;
  readonly applicationName: string;
  readonly sslmode: 'disable' | 'prefer' | 'require' | 'verify-full';
}

export interface StandbyPosition {
  readonly inRecovery: boolean;
  readonly timeline: number;
  /** What the walreceiver has flushed since the server started; null when it has not run since. */
  readonly receivedLsn: string | null;
  readonly replayedLsn: string | null;
  /**
   * All that this standby has on disk. Null while that is not known: after a restart, until replay has reached the end
   * of pg_wal. On a primary: its own flushed position.
   */
  readonly flushedLsn: string | null;
  readonly replayPaused: boolean;
  /** The primary's limits were raised above this standby's: replay is paused, and promotion would stop the server. */
  readonly parametersInsufficient: boolean;
  /** `streaming` and the like; null without a walreceiver. */
  readonly receiverStatus: string | null;
  /** Commit time of the last replayed transaction; null when none was replayed since the server started. */
  readonly lastReplayedAt: Date | null;
}

export interface PauseResult {
  /** False when there was none. */
  readonly hadReceiver: boolean;
  /** It did not leave by itself and was killed; the server then restarted its recovery. */
  readonly killed: boolean;
}

export interface Promotion {
  readonly timeline: number;
  /** Where the new timeline leaves the old one: everything before it is in both. */
  readonly forkLsn: string;
}

export interface StandbyUsage {
  /** On disk, holes left out. */
  readonly dataBytes: number;
  /** WAL kept for recovery to a moment, on top of what the server itself needs. */
  readonly walBytes: number;
  readonly walSegments: number;
  /** Segments that could not be kept because the disk was full: no recovery goes across one. */
  readonly walMissing: number;
}

export const STANDBY_PHASES = ['prepared', 'seeding', 'stopped', 'running'] as const;
/** prepared: configured, without data. seeding: has part of the data. stopped and running: has all of it. */
export type StandbyPhase = (typeof STANDBY_PHASES)[number];

export interface DrivenWorkload {
  readonly workloadId: string;
  readonly phase: StandbyPhase;
}

/**
 * What a warm site can do for a workload, whatever runs it: processes of the host, or Kubernetes with CloudNativePG.
 *
 * Every operation is safe to repeat after a crash at any point, its own included, and a repeated one answers the same.
 * Errors of kind `unavailable` and `internal` may be retried; `precondition`, `invalid`, `not-found` and `conflict` will
 * fail again until something else changes. Operations on different workloads may run at once; on one workload the
 * caller runs one at a time (reading operations excepted: position, phase, endpoint, usage, connect).
 */
export interface SiteDriver {
  readonly name: 'process' | 'kubernetes';

  /** Free disk is measured, not booked. */
  capacity(): Promise<Capacity>;
  /** Major versions that this site can run. */
  supportedMajors(): Promise<readonly number[]>;
  /**
   * What this site's PostgreSQL of a version is. Looked up anew now and then, since packages are installed meanwhile.
   *
   * @throws driver.version-unsupported (precondition)
   */
  build(majorVersion: number): Promise<SiteBuild>;
  /**
   * Whether a tablespace that is made later could have its path here; nothing is made. Those that a copy brings need
   * no path: they lie in the standby.
   *
   * @throws driver.tablespace-refused (precondition)
   */
  checkTablespaceDirectory(location: string): Promise<void>;
  /** All that this site holds, known to the caller or not: what the caller does not know is an orphan to remove. */
  list(): Promise<readonly DrivenWorkload[]>;
  /** Undefined when this site holds nothing of the workload. */
  phase(workloadId: string): Promise<StandbyPhase | undefined>;

  /**
   * Makes room for a standby, or changes its settings: a running server is reloaded, and restarted where a setting
   * needs it.
   *
   * @throws driver.version-unsupported, driver.library-refused (precondition)
   */
  prepareStandby(workloadId: string, specification: StandbySpecification): Promise<Endpoint>;
  /**
   * Copies the source's data and configures it as a standby that follows nobody yet. A copy that was cut off goes on
   * where it stopped; an old standby's data is used again block by block. A running server is stopped first.
   *
   * @throws driver.not-prepared (precondition); the source's and the line's errors, after which it may be called again.
   */
  seed(workloadId: string, source: BackupTransport, options: SeedOptions): Promise<BackupSession>;
  /**
   * Starts the server and waits until it accepts connections. A freshly seeded standby must be told whom to
   * {@link follow} first: it becomes consistent only with the WAL that was written while it was copied.
   *
   * @throws driver.not-seeded (precondition); postgres.server (unavailable) while it still recovers: call again.
   */
  ensureRunning(workloadId: string): Promise<Endpoint>;
  /** A clean stop, and an immediate one when that takes longer than 30 s. */
  ensureStopped(workloadId: string): Promise<void>;
  /** Where clients (the front door) and other sites (the gateway) reach the server, from this host. */
  endpoint(workloadId: string): Promise<Endpoint>;

  /** PEM of what the server shows to clients that ask for TLS; undefined while it takes none. @throws driver.not-prepared */
  certificate(workloadId: string): Promise<string | undefined>;
  /**
   * Lets clients use TLS (1.2 and newer), and shows this certificate to those that come from now on; open connections
   * stay, and nothing is restarted.
   *
   * @throws driver.not-prepared (precondition)
   */
  useCertificate(workloadId: string, certificate: ServerCertificate): Promise<void>;

  /** Settings of the specification that this site's PostgreSQL would not start with, and that stay at their default. */
  refusedParameters(workloadId: string): Promise<readonly string[]>;

  /**
   * Streams from `target`; also re-points a standby that streams from elsewhere, without a restart.
   *
   * @throws driver.not-a-standby (precondition) once it was promoted.
   */
  follow(workloadId: string, target: FollowTarget): Promise<void>;
  /**
   * Ends the streaming and keeps it ended, across restarts, until {@link follow}. A walreceiver that has not left after
   * `killAfterMs` (1 s when left out) is killed, since it would block the promotion.
   */
  pauseReceiving(workloadId: string, killAfterMs?: number): Promise<PauseResult>;
  position(workloadId: string): Promise<StandbyPosition>;
  /** Raises limits to what the primary has now, restarting if need be. Never lowers one. True when it restarted. */
  raiseParameters(workloadId: string, parameters: Readonly<Record<string, string>>): Promise<boolean>;
  /** Lets clients in by these rules from now on, instead of those before. Restarts nothing; who is in stays in. */
  admit(workloadId: string, rules: readonly HbaRule[]): Promise<void>;
  /**
   * Makes the directory of a tablespace that the primary is about to make, or has made: replay stops without it. Nothing
   * to do for one that the standby has.
   *
   * @throws driver.tablespace-refused (precondition) when the path cannot be had at this site.
   */
  ensureTablespaceDirectory(workloadId: string, tablespace: Tablespace): Promise<void>;

  /**
   * Makes the standby a primary on a new timeline, after it has replayed all it has. Answers the same when it already
   * is one. Ends receiving first.
   */
  promote(workloadId: string): Promise<Promotion>;
  /** One commit that is flushed to disk. Throws what the server says when it does not take writes. */
  checkWritable(workloadId: string): Promise<void>;

  /** A physical slot that keeps WAL from now on. Works on a standby. Nothing to do when it exists. */
  createSlot(workloadId: string, slotName: string): Promise<void>;
  /** Also ends the connection that uses it. Nothing to do when there is none. */
  dropSlot(workloadId: string, slotName: string): Promise<void>;
  /**
   * A superuser's connection by the site's own way in; the caller ends it. `database` is `postgres` when left out. The
   * catalog is the agency's, its settings for roles and databases do not hold: only pg_catalog is searched, no library
   * is loaded, and a statement ends after ten minutes.
   */
  connect(workloadId: string, applicationName: string, database?: string): Promise<PostgresClient>;
  /** Serves this standby's data to another site's seeding. The caller calls `close` when nobody copies any more. */
  backupSource(workloadId: string): Promise<BackupTransport & { close(): Promise<void> }>;

  /** Stops the server and removes everything of the workload: data, kept WAL, settings, secrets. */
  remove(workloadId: string): Promise<void>;
  usage(workloadId: string): Promise<StandbyUsage>;
}
