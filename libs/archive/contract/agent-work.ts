import { z } from 'zod';
import { atMost, text, uuid } from '#contracts/sites';
import { overwrite } from './orders.js';
import { treeAnswer } from './questions.js';
import { progress, runSummary } from './results.js';
import { bytes, failure, fault, FAULTS_TOLD, keyId, keyMode, snapshotId, sourceKind, treePath } from './terms.js';

// Site → agent, through the tunnel. Work is begun, looked at, cancelled and forgotten by its id; the agent keeps what came
// of it until the site has it. Sites are updated before agents, so an agent ignores what it does not know of a command.

/** Where the repository is, and with what the agent enters. Never written to a log. */
export const repositoryAccess = z.object({
  repositoryId: uuid,
  /** `https://host:port/<repository>/`, without credentials. */
  url: z.url().max(500),
  user: z.string().max(200),
  secret: z.string().max(200),
  /** PEM of the authority of the vault's certificate. */
  authority: z.string().max(20_000).nullable(),
  /** Escrowed: the agent's own password of the repository. Null: the agent has it, and makes it where it has none. */
  password: z.string().max(200).nullable(),
  /**
   * restic's name of the key that the password most likely opens: tried first. Escrowed: the agent's own. Customer-held: the
   * one that was there first, for an agent that does not know better.
   */
  keyHint: keyId.optional(),
});
export type RepositoryAccess = z.infer<typeof repositoryAccess>;

const limits = z.object({ bandwidthBytesPerSecond: z.number().int().positive().nullable() });

const commandTarget = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('original') }),
  z.object({ kind: z.literal('folder'), path: treePath }),
]);

export const archiveWork = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('backup'),
    source: sourceKind,
    excludes: z.array(z.string().max(1_000)).max(500),
    limits,
    /** Compared with, to count what was removed; the agent's restic finds the parent by itself. */
    previous: z.array(snapshotId).max(1_000),
    tags: z.array(z.string().max(100)).max(10),
  }),
  z.object({
    kind: z.literal('restore'),
    snapshotId,
    paths: z.array(treePath).max(1_000),
    target: commandTarget,
    overwrite,
    limits,
  }),
  /**
   * Customer-held: forget these and prune, under the site's maintenance lease. Of the second copy: what is retained there
   * stays without being a fault, and so do packs that are partly used, which would be others then than here.
   */
  z.object({
    kind: z.literal('forget'),
    snapshotIds: z.array(snapshotId).max(1_000),
    ofCopy: z.boolean().optional(),
  }),
  /** Customer-held: read this share of the packs and check them. */
  z.object({ kind: z.literal('check'), part: z.number().int().min(1), of: z.number().int().min(1) }),
  /**
   * Customer-held: make a new password and add its key. Ended as completed, the agent has the new one on its disk, and the
   * site removes every other key. Repeated with the same id, it tells again what it did.
   */
  z.object({ kind: z.literal('rotate'), rotationId: uuid }),
]);
export type ArchiveWork = z.infer<typeof archiveWork>;

export const workResult = z.strictObject({
  state: z.enum(['completed', 'partial', 'failed', 'cancelled']),
  startedAt: z.iso.datetime(),
  endedAt: z.iso.datetime(),
  snapshots: atMost(
    z.strictObject({ id: snapshotId, part: text(200).nullable(), files: z.number().int(), bytes, summary: runSummary }),
    1_000,
  ),
  filesRestored: z.number().int().nonnegative(),
  filesSkipped: z.number().int().nonnegative(),
  bytesRestored: bytes,
  faultCount: z.number().int().nonnegative(),
  faults: atMost(fault, FAULTS_TOLD),
  /** Paths that were removed or renamed since the run before, some of them: for the people who look at a mass change. */
  removed: atMost(text(1_000), 100),
  renamedCount: z.number().int().nonnegative().nullable(),
  failure: failure.nullable(),
  /** Of a rotation: the key that the new password opens, seen to open. */
  key: keyId.optional(),
  /** For the person at the agency's machine: where a dump lies, and how it is loaded. */
  note: text(2_000).optional(),
});
export type WorkResult = z.infer<typeof workResult>;

export const workLook = z.strictObject({
  state: z.enum(['absent', 'running', 'ended']),
  progress: progress.nullable(),
  result: workResult.nullable(),
});
export type WorkLook = z.infer<typeof workLook>;

export interface ArchiveCommand<I, O> {
  readonly path: string;
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
  readonly answerBytes?: number;
}
const defineCommand = <I, O>(path: string, input: z.ZodType<I>, output: z.ZodType<O>): ArchiveCommand<I, O> =>
  Object.freeze({ path, input, output, answerBytes: 4 * 2 ** 20 });

const done = z.object({ ok: z.literal(true) });
const ofWorkload = { workloadId: uuid, workloadName: z.string().max(41) };

/** Whether the agent can archive this: restic, its version, the paths or the server; changes nothing. */
export const archiveCheckCommand = defineCommand(
  '/v1/archive/check',
  z.object({ ...ofWorkload, source: sourceKind, keyMode }),
  z.strictObject({
    resticVersion: text(40).nullable(),
    /** Whether the agent holds a password for this archive (customer-held). */
    hasPassword: z.boolean(),
    findings: atMost(
      z.strictObject({
        code: text(100),
        severity: z.enum(['blocker', 'warning', 'information']),
        what: text(2_000),
        remedy: text(2_000),
      }),
      100,
    ),
  }),
);
/** Begins work; repeating it with the same id changes nothing. One work at a time on a repository. */
export const beginWorkCommand = defineCommand(
  '/v1/archive/begin',
  z.object({ ...ofWorkload, workId: uuid, access: repositoryAccess, work: archiveWork }),
  done,
);
export const lookWorkCommand = defineCommand('/v1/archive/look', z.object({ ...ofWorkload, workId: uuid }), workLook);
export const cancelWorkCommand = defineCommand('/v1/archive/cancel', z.object({ ...ofWorkload, workId: uuid }), done);
/** The site has the result. */
export const forgetWorkCommand = defineCommand('/v1/archive/forget', z.object({ ...ofWorkload, workId: uuid }), done);
/** One page of a folder, at once (customer-held). */
export const listTreeCommand = defineCommand(
  '/v1/archive/list',
  z.object({
    ...ofWorkload,
    access: repositoryAccess,
    snapshotId,
    path: treePath,
    after: z.string().max(1_000).nullable(),
    limit: z.number().int().min(1).max(1_000),
  }),
  treeAnswer,
);
/**
 * Hands a read credential to the agent's machine, for the person who asked for the exit: the agent writes it to a file
 * that only its own user can read.
 */
export const handExitCommand = defineCommand(
  '/v1/archive/hand-exit',
  z.object({ ...ofWorkload, exitId: uuid, access: repositoryAccess, until: z.iso.datetime() }),
  done,
);
