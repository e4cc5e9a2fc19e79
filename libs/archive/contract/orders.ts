import { z } from 'zod';
import { defineOrder, peerSite, text, uuid } from '#contracts/sites';
import { archivePolicy, formerRetention } from './policy.js';
import { archiveRef, keyMode, snapshotId, sourceKind, treePath } from './terms.js';

// Control plane → site. Each may be repeated.

/** Archive a workload at this site. Repeating it with other values changes the policy; source and key mode stay. */
export const ensureArchiveOrder = defineOrder(
  'archive.ensure',
  z.strictObject({
    ...archiveRef,
    agentId: uuid,
    workloadName: z.string().max(41),
    source: sourceKind,
    keyMode,
    policy: archivePolicy,
    paused: z.boolean(),
    /** What was kept before it was to keep less; none when left out. */
    former: formerRetention.nullable().optional(),
    /** The site that keeps the second copy. */
    second: peerSite.nullable(),
  }),
);
export type EnsureArchive = z.infer<typeof ensureArchiveOrder.payload>;

/** This site keeps the second copy of an archive of another site. */
export const keepCopyOrder = defineOrder(
  'archive.keep-copy',
  z.strictObject({ ...archiveRef, first: peerSite, minimumAgeDays: z.number().int().min(0) }),
);
/**
 * No more runs; what is there stays until its time, then the repository goes. Repeated, it says where the other of the two
 * sites is reached now: until the copy has gone, too, which may be years, each has to know that.
 */
export const endArchiveOrder = defineOrder(
  'archive.end',
  z.strictObject({ ...archiveRef, other: peerSite.nullable().optional() }),
);

export const runArchiveOrder = defineOrder('archive.run', z.strictObject({ ...archiveRef, runId: uuid }));
/** Stops a run or a restore; one that has ended stays as it is. */
export const cancelArchiveWorkOrder = defineOrder('archive.cancel', z.strictObject({ ...archiveRef, workId: uuid }), {
  urgent: true,
});

/** What happens where a file is already. `never` is the default everywhere. */
export const overwrite = z.enum(['never', 'if-changed', 'always']);
/** Where a restore goes. `original` and `folder` are on the agent's machine. */
export const restoreTarget = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('original') }),
  z.strictObject({ kind: z.literal('folder'), path: treePath }),
]);
export type RestoreTarget = z.infer<typeof restoreTarget>;

export const restoreOrder = defineOrder(
  'archive.restore',
  z.strictObject({
    ...archiveRef,
    restoreId: uuid,
    snapshotId,
    /** Files and folders; all when empty. */
    paths: z.array(treePath).max(1_000),
    target: restoreTarget,
    overwrite,
  }),
);
export type RestoreWish = z.infer<typeof restoreOrder.payload>;

/** Keeps a recovery point whatever its age, for a litigation; null lifts the hold. */
export const holdPointOrder = defineOrder(
  'archive.hold',
  z.strictObject({ ...archiveRef, snapshotId, because: text(2_000).nullable() }),
);
/** Two people want a recovery point gone before its time. The vault's minimum age still holds. */
export const dropPointOrder = defineOrder(
  'archive.drop',
  z.strictObject({ ...archiveRef, snapshotId, dropId: uuid, asked: text(200), approved: text(200) }),
);
/** What people say of a suspected mass change: false, and learnt from; or right, and retention may go on. */
export const judgeChangeOrder = defineOrder(
  'archive.judge-change',
  z.strictObject({ ...archiveRef, changeId: uuid, verdict: z.enum(['false-positive', 'dealt-with']) }),
);
/** More is dropped of no archive by hand; the newest count. */
export const DROPPED_MAX = 1_000;
/**
 * Brings back what was removed from the repository since then, by whomever; to each site that keeps one. Keys only with
 * `keys`: one that a rotation has replaced may be of a password that had leaked.
 */
export const bringBackOrder = defineOrder(
  'archive.bring-back',
  z.strictObject({
    ...archiveRef,
    since: z.iso.datetime(),
    keys: z.boolean().optional(),
    /** What two people dropped, for a site that keeps a copy and knows no points: it stays gone. */
    dropped: z.array(snapshotId).min(1).max(DROPPED_MAX).optional(),
  }),
  { urgent: true },
);
/**
 * New passwords, the old ones removed from the repository. Escrowed: the site's and the agent's. Customer-held: the agent
 * makes it, and the person at its machine must fetch it.
 */
export const rotateKeysOrder = defineOrder('archive.rotate-keys', z.strictObject({ ...archiveRef, rotationId: uuid }));
/** The agent may hand a read credential, and with an escrowed key a password, to the person at its machine. */
export const allowExitOrder = defineOrder(
  'archive.allow-exit',
  z.strictObject({ ...archiveRef, exitId: uuid, until: z.iso.datetime() }),
);
