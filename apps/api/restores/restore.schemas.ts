import { z } from 'zod';
import { failure, fault, overwrite, progress, restoreState, restoreTarget, treePath } from '#contracts/archive';
import { instant, pageQuery } from '#libs/platform/http';

export const restoresQuery = pageQuery.extend({ archiveId: z.uuid().optional() });
export type RestoresQuery = z.infer<typeof restoresQuery>;

export const restoreRequest = z
  .strictObject({
    recoveryPointId: z.uuid(),
    paths: z.array(treePath).max(1_000).default([]).meta({
      description: 'Files and folders, as the recovery point’s tree shows them. None: all of it.',
    }),
    target: restoreTarget.default({ kind: 'original' }).meta({
      description:
        'Where to, on the agent’s machine: to where it was, or under a folder of your choice. A dump needs a folder.',
    }),
    overwrite: overwrite.default('never').meta({
      description: 'What happens where a file is already. never: it is left as it is, and counted as skipped.',
    }),
  })
  .meta({ id: 'RestoreRequest' });
export type RestoreRequest = z.infer<typeof restoreRequest>;

export const restoreView = z
  .object({
    id: z.uuid(),
    archiveId: z.uuid(),
    recoveryPointId: z.uuid(),
    paths: z.array(z.string()),
    target: z.object({ kind: z.enum(['original', 'folder']), path: z.string().optional() }),
    overwrite,
    askedBy: z.object({ name: z.string() }),
    state: restoreState,
    createdAt: instant,
    startedAt: instant.nullable(),
    endedAt: instant.nullable(),
    progress: z.object(progress.shape).nullable(),
    filesRestored: z.number(),
    filesSkipped: z.number(),
    bytesRestored: z.number(),
    faultCount: z.int(),
    faults: z.array(z.object(fault.shape)).meta({ description: 'The first 200 of them, by path.' }),
    failure: z.object(failure.shape).nullable(),
    note: z.string().nullable().meta({ description: 'Where a dump lies, and how it is loaded.' }),
  })
  .meta({ id: 'Restore' });
