import { z } from 'zod';
import { atMost, defineResult, text, uuid } from '#contracts/sites';
import { PATHS_SEEN, proof } from './proof.js';
import { archiveRef, bytes, failure, fault, FAULTS_TOLD, snapshotId } from './terms.js';

// Site → control plane: durable, in order; each carries the whole of what it tells about, so the newest counts.

const moment = z.iso.datetime();

export const ARCHIVE_STATES = ['preparing', 'active', 'paused', 'failed', 'ending', 'ended'] as const;
export const archiveState = z.enum(ARCHIVE_STATES);
export type ArchiveState = z.infer<typeof archiveState>;

/** How the second copy stands. */
export const copyHealth = z.strictObject({
  /** Up to here every recovery point is there too. */
  completeUntil: moment.nullable(),
  /** At the last look; null when that failed: then nobody knows. */
  missingObjects: z.number().int().nonnegative().nullable(),
  missingBytes: bytes.nullable(),
  lookedAt: moment,
  failure: failure.nullable(),
});

/**
 * `late`: no run has completed for longer than the schedule says. `source-silent`: a run is due or under way, and the
 * agent does not answer. `password-missing`: the agent has lost a customer-held password. `check-failed`: reading the archive
 * again found faults that no damaged object explains, and a later check of the same part has not passed yet.
 * `retention-failed`: nothing could be removed for an hour or longer, however often it was tried. `junk-objects`: in the last
 * seven days something was found among the objects that is no part of the archive, and was laid aside.
 */
export const archiveAlarm = z.strictObject({
  code: z.enum(['late', 'source-silent', 'password-missing', 'check-failed', 'retention-failed', 'junk-objects']),
  since: moment,
  what: text(500),
});
export type ArchiveAlarm = z.infer<typeof archiveAlarm>;

/** A recovery point laid out as files at the site. */
export const standingCopy = z.strictObject({
  /** On the site's host. Beside the folder of the same name lies a `.json` that says of it what this does. */
  path: text(1_000),
  /** Which one the files are; null: none, for they are being laid out, or were never. */
  snapshotId: snapshotId.nullable(),
  /** The one whose files are being laid out, or were when it broke off: until that is done they are a mixture. */
  layingOut: snapshotId.nullable().optional(),
  /** Of the recovery point: its age is the age of the files. */
  receivedAt: moment.nullable(),
  restoredAt: moment.nullable(),
  failure: failure.nullable(),
});
export type StandingCopy = z.infer<typeof standingCopy>;

export const archiveResult = defineResult(
  'archive.state',
  z.strictObject({
    ...archiveRef,
    state: archiveState,
    failure: failure.nullable(),
    /** What the repository takes in the vault. */
    storedBytes: bytes,
    nextRunAt: moment.nullable(),
    /** Retention stands still: why. */
    retentionPaused: text(500).nullable(),
    copy: copyHealth.nullable(),
    /** Of the bytes of the repository, how many were read and checked in the last 30 days. */
    checkedShare: z.number().min(0).max(1).nullable(),
    damaged: atMost(z.strictObject({ object: text(100), repaired: z.boolean(), at: moment }), 100),
    keysRotatedAt: moment.nullable(),
    /** What people must know of: a source that is late or silent, a password that is gone. */
    alarms: atMost(archiveAlarm, 20).optional(),
    /** Of folders with an escrowed key: the copy at the site that a failover finds. */
    standing: standingCopy.nullable().optional(),
  }),
);
export type ArchiveReport = z.infer<typeof archiveResult.payload>;

export const RUN_STATES = ['waiting', 'running', 'completed', 'partial', 'failed', 'cancelled', 'unknown'] as const;
export const runState = z.enum(RUN_STATES);
export type RunState = z.infer<typeof runState>;

export const progress = z.strictObject({
  filesDone: z.number().int().nonnegative(),
  filesTotal: z.number().int().nonnegative().nullable(),
  bytesDone: bytes,
  bytesTotal: bytes.nullable(),
  secondsLeft: z.number().nonnegative().nullable(),
});
export type Progress = z.infer<typeof progress>;

/** restic's summary of a backup, summed over the parts of a run (one for each dump). */
export const runSummary = z.strictObject({
  filesNew: z.number().int().nonnegative(),
  filesChanged: z.number().int().nonnegative(),
  filesUnmodified: z.number().int().nonnegative(),
  filesRemoved: z.number().int().nonnegative().nullable(),
  bytesProcessed: bytes,
  /** Before and after compression and encryption. */
  bytesAdded: bytes,
  bytesAddedPacked: bytes,
  seconds: z.number().nonnegative(),
});
export type RunSummary = z.infer<typeof runSummary>;

export const runResult = defineResult(
  'archive.run',
  z.strictObject({
    ...archiveRef,
    runId: uuid,
    cause: z.enum(['schedule', 'request']),
    state: runState,
    dueAt: moment,
    startedAt: moment.nullable(),
    endedAt: moment.nullable(),
    progress: progress.nullable(),
    summary: runSummary.nullable(),
    snapshotIds: z.array(snapshotId).max(1_000),
    faultCount: z.number().int().nonnegative(),
    faults: atMost(fault, FAULTS_TOLD),
    failure: failure.nullable(),
  }),
);
export type RunReport = z.infer<typeof runResult.payload>;

/** A snapshot as a state that the workload can be brought back to. */
export const pointResult = defineResult(
  'archive.point',
  z.strictObject({
    ...archiveRef,
    snapshotId,
    runId: uuid.nullable(),
    /** Of a dump: which database. */
    part: text(200).nullable(),
    /** By the vault's clock: what counts. */
    receivedAt: moment,
    /** What the client says; it may be wrong, or a lie. */
    claimedAt: moment,
    clockDiffers: z.boolean(),
    files: z.number().int().nonnegative().nullable(),
    bytes: bytes.nullable(),
    bytesAddedPacked: bytes.nullable(),
    change: z
      .strictObject({
        filesNew: z.number().int().nonnegative(),
        filesChanged: z.number().int().nonnegative(),
        filesRemoved: z.number().int().nonnegative().nullable(),
      })
      .nullable(),
    proof,
    heldBecause: text(2_000).nullable(),
    /** Kept as the last one before a suspected mass change. */
    pinned: z.boolean(),
    forgottenAt: moment.nullable(),
    forgottenBecause: z.enum(['retention', 'two-people', 'missing']).nullable(),
  }),
);
export type PointReport = z.infer<typeof pointResult.payload>;

export const RESTORE_STATES = ['waiting', 'running', 'completed', 'partial', 'failed', 'cancelled'] as const;
export const restoreState = z.enum(RESTORE_STATES);
export const restoreResult = defineResult(
  'archive.restore',
  z.strictObject({
    ...archiveRef,
    restoreId: uuid,
    state: restoreState,
    startedAt: moment.nullable(),
    endedAt: moment.nullable(),
    progress: progress.nullable(),
    filesRestored: z.number().int().nonnegative(),
    filesSkipped: z.number().int().nonnegative(),
    bytesRestored: bytes,
    faultCount: z.number().int().nonnegative(),
    faults: atMost(fault, FAULTS_TOLD),
    failure: failure.nullable(),
    /** The agent's: where a dump lies, and how it is loaded. */
    note: text(2_000).optional(),
  }),
);
export type RestoreReport = z.infer<typeof restoreResult.payload>;

/**
 * A number that is not as it was in earlier runs: what it is, what is usual, and how far off. The vault's own word: `growth`,
 * `snapshot-burst`, `refused-deletes`. The agent's: `deletions`, `changes`, `renames`, `entropy`. What the test restore saw:
 * `wrong-contents`, `canary`, `load-failed`, `rows-lost`.
 */
export const changeSignal = z.strictObject({
  signal: z.enum([
    'growth',
    'deletions',
    'changes',
    'renames',
    'entropy',
    'snapshot-burst',
    'refused-deletes',
    'canary',
    'wrong-contents',
    'load-failed',
    'rows-lost',
  ]),
  value: z.number(),
  usual: z.number().nullable(),
  limit: z.number(),
  what: text(500),
  /** Files, or databases and tables, that it is about: the first ones. */
  paths: atMost(text(1_000), PATHS_SEEN).optional(),
});
export type ChangeSignal = z.infer<typeof changeSignal>;
export const massChangeResult = defineResult(
  'archive.mass-change',
  z.strictObject({
    ...archiveRef,
    changeId: uuid,
    runId: uuid.nullable(),
    state: z.enum(['suspected', 'false-positive', 'dealt-with']),
    at: moment,
    signals: atMost(changeSignal, 20),
    paths: atMost(text(1_000), 100),
    /** The last recovery point before it. */
    lastGood: snapshotId.nullable(),
  }),
);
export type MassChangeReport = z.infer<typeof massChangeResult.payload>;

export const dropResult = defineResult(
  'archive.drop',
  z.strictObject({
    ...archiveRef,
    dropId: uuid,
    snapshotId,
    state: z.enum(['done', 'retained', 'failed']),
    failure: failure.nullable(),
  }),
);

/**
 * A fact for billing: `amount` over a moment (ingested, restored) or held from `from` to `to` (stored). The site that keeps a
 * second copy tells what the copy takes there (copy-stored), and nothing else of it.
 */
export const USAGE_KINDS = [
  'archive.ingested-bytes',
  'archive.stored-bytes',
  'archive.restored-bytes',
  'archive.copy-stored-bytes',
] as const;
export type UsageKind = (typeof USAGE_KINDS)[number];
export const archiveUsageResult = defineResult(
  'archive.usage',
  z.strictObject({
    ...archiveRef,
    factId: uuid,
    kind: z.enum(USAGE_KINDS),
    amount: bytes,
    from: moment,
    to: moment,
  }),
);

/** For the agency's record of who used a key, and for what. */
export const keyUseResult = defineResult(
  'archive.key-use',
  z.strictObject({ ...archiveRef, useId: uuid, purpose: text(200), at: moment }),
);
