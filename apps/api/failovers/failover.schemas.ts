import { z } from 'zod';
import { acceptedLoss, lossStatement, oldServerFate, RUN_STEPS, runReport, runState } from '#contracts/failover';
import { instant } from '#libs/platform/http';
import { plainText } from '#libs/tenancy/control';

const acceptLoss = acceptedLoss
  .default({ kind: 'none' })
  .meta({ description: 'none, at most so many bytes of log, or an amount that nobody knows.' });
const oldServer = oldServerFate
  .default('not-asked')
  .meta({ description: 'How the agency’s old server was stopped, in your word; the record keeps it.' });

export const previewRequest = z
  .strictObject({ siteId: z.uuid().optional() })
  .default({})
  .meta({ id: 'FailoverPreviewRequest' });
export type PreviewRequest = z.infer<typeof previewRequest>;

export const declarationRequest = z
  .strictObject({
    reason: plainText(1_000).meta({ examples: ['The town hall is flooded'] }),
    siteId: z.uuid().optional().meta({ description: 'Left out: the metro site, or the regional one if it is gone.' }),
    acceptLoss,
    oldServer,
  })
  .meta({ id: 'Declaration' });
export type DeclarationRequest = z.infer<typeof declarationRequest>;

export const confirmRequest = z.strictObject({ acceptLoss, oldServer }).meta({ id: 'FailoverConfirmation' });
export type ConfirmRequest = z.infer<typeof confirmRequest>;

export const cancelRequest = z
  .strictObject({
    abandon: z.boolean().default(false).meta({
      description:
        'Give up a run that its site never acknowledged, or cannot end (it is silent, or failed at a step three times), so that another site can be chosen. In the second case the site may still promote, so the other site stays aside, and production is not armed there, until the next declaration or until the silent site tells that it did not promote.',
    }),
  })
  .default({ abandon: false })
  .meta({ id: 'FailoverCancellation' });
export type CancelRequest = z.infer<typeof cancelRequest>;

const loss = z.object(lossStatement.shape);
const obstacles = z.array(z.object({ code: z.string(), what: z.string(), remedy: z.string() }));

export const previewView = z
  .object({
    workloadId: z.uuid(),
    siteId: z.uuid().meta({ description: 'Where a declaration that names no site would go.' }),
    mode: z.enum(['strict', 'available']),
    loss,
    obstacles,
    warnings: obstacles.meta({
      description: 'What hinders no promotion, and yet is to be mended: `front-door.closed`.',
    }),
    sites: z.array(
      z.object({
        siteId: z.uuid(),
        siteName: z.string(),
        role: z.enum(['metro', 'regional']),
        answered: z.boolean(),
        canPromote: z.boolean().nullable(),
        loss,
        armed: z.boolean().nullable(),
        bytesBehind: z.number().nullable(),
        secondsBehind: z.number().nullable(),
        sourceSeenSecondsAgo: z.number().nullable(),
        obstacles,
      }),
    ),
    declare: z
      .object({
        siteId: z.uuid(),
        acceptLoss: acceptedLoss,
        oldServer: z.union([oldServerFate, z.array(oldServerFate)]),
      })
      .meta({ description: 'What the declaration must say; where oldServer is a list, one of it.' }),
  })
  .meta({ id: 'FailoverPreview' });

const person = z.object({ kind: z.string(), id: z.string().nullable(), name: z.string() });

/** A run as it stands in a list. */
export const runSummary = z
  .object({
    id: z.uuid(),
    workloadId: z.uuid(),
    siteId: z.uuid(),
    siteName: z.string(),
    epoch: z.int(),
    state: runState,
    stateReason: z.string().nullable(),
    declaration: z.object({
      number: z.int().meta({ description: 'Rises by one in each agency; a declaration is never altered.' }),
      reason: z.string(),
      acceptLoss: acceptedLoss,
      oldServer: oldServerFate,
      declaredBy: person,
      declaredAt: instant,
    }),
    additions: z.array(
      z.object({
        kind: z.enum(['confirm', 'cancel']),
        acceptLoss: acceptedLoss.nullable(),
        oldServer: oldServerFate.nullable(),
        by: person,
        at: instant,
      }),
    ),
    report: z.object(runReport.shape).nullable(),
    createdAt: instant,
    finishedAt: instant.nullable(),
  })
  .meta({ id: 'FailoverRunSummary' });

/** A run with what each of its steps did. */
export const runView = runSummary
  .extend({
    steps: z.array(
      z.object({
        step: z.enum(RUN_STEPS),
        state: z.enum(['pending', 'started', 'done', 'skipped', 'retrying', 'failed']),
        attempt: z.int().nullable(),
        startedAt: z.string().nullable(),
        endedAt: z.string().nullable(),
        message: z.string().nullable(),
        evidence: z.record(z.string(), z.unknown()),
      }),
    ),
  })
  .meta({ id: 'FailoverRun' });
