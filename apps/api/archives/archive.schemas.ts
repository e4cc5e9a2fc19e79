import { z } from 'zod';
import {
  agencyCheck,
  archiveAlarm,
  archivePolicy,
  archiveState,
  changeSignal,
  copyHealth,
  failure,
  fault,
  keyMode,
  progress,
  formerRetention,
  retention as retentionNumbers,
  runState,
  runSummary,
  schedule,
  sourceKind,
  standingCopy,
  timeZone,
} from '#contracts/archive';
import { ARCHIVE_CONDITIONS, RETENTION_EXAMPLE, retentionFromWords } from '#libs/archive/control';
import { instant } from '#libs/platform/http';

/** A schema of the sites' contract as an answer: what it does not name is dropped, not refused. */
export const answered = <S extends z.ZodRawShape>(schema: z.ZodObject<S>) => z.object(schema.shape);

/** Both ways to say it are read here, so that an answer to words says what was not understood of them. */
const retention = z
  .union([
    z.string().max(300),
    z.strictObject({
      hours: z.int().min(0).default(0),
      days: z.int().min(0).default(0),
      weeks: z.int().min(0).default(0),
      months: z.int().min(0).default(0),
      years: z.int().min(0).default(0),
    }),
  ])
  .transform((said, context) => {
    const understood = typeof said === 'string' ? retentionFromWords(said) : { retention: said };
    if ('problem' in understood) {
      context.addIssue({ code: 'custom', message: understood.problem });
      return z.NEVER;
    }
    const checked = retentionNumbers.safeParse(understood.retention);
    if (checked.success) return checked.data;
    for (const { path, message } of checked.error.issues)
      context.addIssue({ code: 'custom', message, path: [...path] });
    return z.NEVER;
  })
  .meta({
    description: `In words ("${RETENTION_EXAMPLE}") or in numbers: of each of so many last hours, days, weeks, months and years the newest recovery point is kept. A month counts as 31 days, a year as 366.`,
    examples: [RETENTION_EXAMPLE],
  });

const policy = archivePolicy.shape;
const changeable = {
  schedule: schedule.meta({ description: 'Left out: every day at 22:00.' }),
  timeZone: timeZone.meta({
    description: 'Of the schedule and the quiet hours. Left out: that of most people in the agency’s state.',
  }),
  retention,
  minimumAgeDays: policy.minimumAgeDays.meta({
    description:
      'Nothing is removed before it is so old, whoever asks: the vault holds that. It can grow, never shrink.',
  }),
  excludes: policy.excludes.meta({ description: 'Patterns as restic’s --exclude takes them.' }),
  bandwidthBytesPerSecond: policy.bandwidthBytesPerSecond,
  quietHours: policy.quietHours,
  checks: z.array(agencyCheck).max(50).meta({
    description:
      'Queries of a restored dump, each with what its first column must be at least: they are part of the proof.',
  }),
  canaries: policy.canaries.unwrap().meta({
    description:
      'Of files with an escrowed key: files below the archived folders, by their whole paths, that nobody changes. Each test restore compares them; one that is changed or missing is a suspected mass change together with any other signal.',
  }),
  quotaBytes: policy.quotaBytes,
  rateBytesPerSecond: policy.rateBytesPerSecond.unwrap().meta({
    description:
      'What the vault takes in for it in a second, and what it gives out, restores too: held by the vault, unlike bandwidthBytesPerSecond, which the agent keeps to.',
  }),
  standingCopy: z.boolean().meta({
    description:
      'Of files with an escrowed key: whether the newest recovery point lies ready at the site as files. Yes when left out.',
  }),
};

export const archiveInput = z
  .strictObject({
    workloadId: z.uuid(),
    keyMode: keyMode.meta({
      description:
        'Must be said. escrowed: the provider holds the password, sealed, and can read what is archived; it proves every recovery point by a restore. customer-held: nobody but your agent can read it; if you lose the password, nobody ever can.',
    }),
    siteId: z
      .uuid()
      .optional()
      .meta({ description: 'Left out: Mainstay chooses among the sites that the agent dials.' }),
    secondSiteId: z.uuid().nullable().optional().meta({ description: 'Where a second copy is kept. Left out: none.' }),
    ...z.strictObject(changeable).partial().shape,
  })
  .meta({ id: 'ArchiveInput' });
export type ArchiveInputBody = z.infer<typeof archiveInput>;

export const archiveChange = z
  .strictObject({
    ...changeable,
    paused: z.boolean(),
    secondSiteId: z.uuid().meta({ description: 'Adds a second copy where there is none.' }),
  })
  .partial()
  .meta({ id: 'ArchiveChange' });
export type ArchiveChangeBody = z.infer<typeof archiveChange>;

export const exitRequest = z
  .strictObject({ hours: z.int().min(1).max(168).default(24) })
  .default({ hours: 24 })
  .meta({ id: 'ArchiveExitRequest' });
export type ExitRequest = z.infer<typeof exitRequest>;

export const undoRemovals = z
  .strictObject({
    since: z.iso.datetime().meta({ description: 'What was removed at or after this moment comes back.' }),
    keys: z.boolean().default(false).meta({
      description:
        'Whether removed keys come back too: where a thief has removed them, or the password of after a rotation is lost. Passwords from before a rotation then open the archive again, a leaked one too: rotate the keys afterwards.',
    }),
  })
  .meta({ id: 'UndoArchiveRemovals' });
export type UndoRemovals = z.infer<typeof undoRemovals>;
export const removalsUndone = z.object({ since: instant, keys: z.boolean() }).meta({ id: 'ArchiveRemovalsUndone' });

export const verdictRequest = z
  .strictObject({
    verdict: z.enum(['false-positive', 'dealt-with']).meta({
      description:
        'false-positive: the change was meant; one member says it, and the site learns from it. dealt-with: it was none, and has been dealt with; two members with the authority say it.',
    }),
  })
  .meta({ id: 'MassChangeVerdict' });
export type VerdictRequest = z.infer<typeof verdictRequest>;

const said = answered(failure).nullable();
const person = z.object({ name: z.string() });

export const archiveView = z
  .object({
    id: z.uuid(),
    workloadId: z.uuid(),
    workloadName: z.string(),
    agentId: z.uuid(),
    siteId: z.uuid(),
    siteName: z.string(),
    secondSiteId: z.uuid().nullable(),
    secondSiteName: z.string().nullable(),
    source: sourceKind,
    keyMode,
    keyModeMeans: z.string().meta({ description: 'Who can read the archive, in plain words.' }),
    state: archiveState,
    condition: z.enum(ARCHIVE_CONDITIONS).meta({
      description:
        'How it does now, as measured. unknown: the site or the agent is silent. attention: a suspected change, damage, an alarm, a newest proof or run that did not come out right, a second copy that is behind or fails. late: no recovery point within twice the period.',
    }),
    policy: z.object(policy).extend({ retention: z.object(retentionNumbers.shape) }),
    scheduleInWords: z.string(),
    retentionInWords: z.string(),
    formerRetention: answered(formerRetention)
      .extend({ retention: z.object(retentionNumbers.shape) })
      .nullable(),
    keepsLessFrom: z.iso.datetime().nullable().meta({
      description:
        'From then on a retention that keeps less counts alone; until then what was kept before (`formerRetention`) does too.',
    }),
    paused: z.boolean(),
    warnings: z.array(z.string()),
    failure: said,
    points: z.int().meta({ description: 'Recovery points that are there.' }),
    newestPointAt: instant.nullable(),
    lastRun: z.object({ id: z.uuid(), state: runState, endedAt: instant.nullable() }).nullable(),
    late: z.boolean(),
    nextRunAt: instant.nullable(),
    storedBytes: z.number().nullable(),
    retentionPaused: z
      .string()
      .nullable()
      .meta({ description: 'Why nothing is removed just now; null: retention goes on.' }),
    openChanges: z.int().meta({ description: 'Suspected mass changes that nobody has judged yet.' }),
    copy: answered(copyHealth).extend({ failure: said }).nullable(),
    checkedShare: z
      .number()
      .nullable()
      .meta({ description: 'Of all bytes, how many were read and checked in 30 days.' }),
    damaged: z.array(z.object({ object: z.string(), repaired: z.boolean(), at: z.string() })),
    keysRotatedAt: instant.nullable(),
    alarms: z.array(answered(archiveAlarm)),
    standing: answered(standingCopy)
      .extend({ failure: said })
      .nullable()
      .meta({ description: 'The newest recovery point laid out as files at the site.' }),
    reportedAt: instant.nullable(),
    createdAt: instant,
    endedAt: instant.nullable(),
  })
  .meta({ id: 'Archive' });

export const runView = z
  .object({
    id: z.uuid(),
    archiveId: z.uuid(),
    cause: z.enum(['schedule', 'request']),
    state: runState.meta({
      description: 'partial: a recovery point was left, and `faults` could not be read. unknown: the agent is silent.',
    }),
    dueAt: instant,
    startedAt: instant.nullable(),
    endedAt: instant.nullable(),
    progress: answered(progress).nullable(),
    summary: answered(runSummary).nullable(),
    snapshotIds: z.array(z.string()),
    faultCount: z.int(),
    faults: z.array(answered(fault)).meta({ description: 'The first 200 of them, by path.' }),
    failure: said,
  })
  .meta({ id: 'ArchiveRun' });

export const changeView = z
  .object({
    id: z.uuid(),
    archiveId: z.uuid(),
    runId: z.uuid().nullable(),
    state: z.enum(['suspected', 'false-positive', 'dealt-with']),
    at: instant,
    signals: z.array(answered(changeSignal)).meta({
      description:
        'The number, what is usual, and the limit. By the vault itself: growth, snapshot-burst, refused-deletes. By the agent’s word: deletions, changes, renames, entropy. By a test restore: wrong-contents (files that do not begin as their names promise), canary, load-failed (dumps), rows-lost (tables).',
    }),
    paths: z.array(z.string()).meta({ description: 'Some of what changed; what a test restore saw comes first.' }),
    lastGoodPointId: z.uuid().nullable().meta({ description: 'The last recovery point before it.' }),
    releaseAskedBy: person.nullable().meta({ description: 'The first of the two people who release it.' }),
    releaseAskedAt: instant.nullable(),
    verdict: z.enum(['false-positive', 'dealt-with']).nullable(),
    verdictBy: person.nullable(),
    verdictAt: instant.nullable(),
  })
  .meta({ id: 'MassChange' });

export const keyUse = z.object({ id: z.uuid(), purpose: z.string(), at: instant }).meta({ id: 'ArchiveKeyUse' });
export const rotationView = z
  .object({
    rotationId: z.uuid(),
    next: z.string().nullable().meta({
      description: 'Customer-held: what to type on the agent’s machine once `keysRotatedAt` has moved, for your safe.',
    }),
  })
  .meta({ id: 'ArchiveKeyRotation' });
export const exitView = z
  .object({
    exitId: z.uuid(),
    until: instant,
    next: z.string().meta({ description: 'What to type on the agent’s machine.' }),
  })
  .meta({ id: 'ArchiveExit' });
