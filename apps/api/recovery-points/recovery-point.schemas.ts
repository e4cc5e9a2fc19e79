import { z } from 'zod';
import { proof, treeEntry, treePath } from '#contracts/archive';
import { DROP_STATES } from '#libs/archive/control';
import { instant, pageQuery } from '#libs/platform/http';
import { plainText } from '#libs/tenancy/control';

export const pointsQuery = pageQuery.extend({
  before: z.iso.datetime().optional().meta({ description: 'Received before: the state before the mistake.' }),
  part: z.string().max(200).optional().meta({ description: 'Of dumps: this database only.' }),
  forgotten: z
    .enum(['true', 'false'])
    .default('false')
    .meta({ description: 'true: those that were removed, too, with the reason.' }),
});
export type PointsQuery = z.infer<typeof pointsQuery>;

/** Names of a folder are its sort key. */
export const treeQuery = pageQuery.extend({
  path: treePath.default('/').meta({ description: 'A folder of the recovery point.' }),
});
export type TreeQuery = z.infer<typeof treeQuery>;

export const fileQuery = z.strictObject({ path: treePath.meta({ description: 'One file of the recovery point.' }) });
export type FileQuery = z.infer<typeof fileQuery>;

export const holdRequest = z
  .strictObject({
    because: plainText(2_000).meta({ examples: ['Smith v. Town of Elm: keep until the court says so'] }),
  })
  .meta({ id: 'RecoveryPointHold' });
export type HoldRequest = z.infer<typeof holdRequest>;

export const dropAsked = z
  .strictObject({ because: plainText(1_000).meta({ examples: ['It holds a person’s file that had to be deleted'] }) })
  .meta({ id: 'RecoveryPointDropRequest' });
export type DropAsked = z.infer<typeof dropAsked>;

const person = z.object({ name: z.string() });

export const pointView = z
  .object({
    id: z.uuid(),
    archiveId: z.uuid(),
    snapshotId: z.string().meta({ description: 'By which restic knows it.' }),
    runId: z.uuid().nullable(),
    part: z.string().nullable().meta({ description: 'Of a dump: which database.' }),
    receivedAt: instant.meta({ description: 'By the vault’s clock: retention goes by it.' }),
    claimedAt: instant.meta({ description: 'By the agent’s clock.' }),
    clockDiffers: z.boolean().meta({ description: 'The two are more than ten minutes apart.' }),
    ageSeconds: z.number(),
    files: z.number().nullable(),
    bytes: z.number().nullable().meta({ description: 'Of what it brings back.' }),
    bytesAddedPacked: z.number().nullable().meta({ description: 'What it added to the archive.' }),
    change: z
      .object({ filesNew: z.number(), filesChanged: z.number(), filesRemoved: z.number().nullable() })
      .nullable()
      .meta({ description: 'Against the one before.' }),
    proof: z.object(proof.shape).meta({
      description:
        'How it was proven: restored when, in how many seconds, with which checks. `never`: not yet. `contents`: of a sample of files, how many do not begin as their names promise. `canaries`: how each of them was found.',
    }),
    pinned: z.boolean().meta({ description: 'Kept as the last one before a suspected mass change.' }),
    hold: z.object({ because: z.string(), heldBy: person, heldAt: instant, atSite: z.boolean() }).nullable(),
    drop: z
      .object({
        id: z.uuid(),
        state: z.enum(DROP_STATES),
        because: z.string(),
        askedBy: person,
        askedAt: instant,
        approvedBy: person.nullable(),
        failure: z.object({ code: z.string(), message: z.string() }).nullable(),
      })
      .nullable(),
    forgottenAt: instant.nullable(),
    forgottenBecause: z.enum(['retention', 'two-people', 'missing']).nullable(),
  })
  .meta({ id: 'RecoveryPoint' });

export const folderEntry = z.object(treeEntry.shape).meta({ id: 'RecoveryPointEntry' });
