import { z } from 'zod';
import { uuid } from '#contracts/sites';

// First site → the site that keeps the second copy, through the link between sites.

/**
 * Lets the first site into the copy's repository for a while. `append` brings objects, and reads them back where the first
 * site's own are damaged; `maintain` takes away what has been forgotten, under a lease that lasts as long as it does.
 */
export const copyAccessCommand = Object.freeze({
  path: '/v1/peer/archive/copy-access',
  input: z.strictObject({ workloadId: uuid, archiveId: uuid, role: z.enum(['append', 'maintain']) }),
  output: z.object({
    /** `https://host:port/<repository>/`, without credentials. */
    url: z.url().max(500),
    user: z.string().max(200),
    secret: z.string().max(200),
    /** PEM of the authority of the vault's certificate. */
    authority: z.string().max(20_000).nullable(),
    seconds: z.number().int().positive(),
  }),
});
export type CopyAccess = z.infer<typeof copyAccessCommand.output>;

/**
 * An access that lasts longer than what it was given for: it goes on for so many seconds from now, with its lease. One that
 * has ended does not come back.
 */
export const copyRenewCommand = Object.freeze({
  path: '/v1/peer/archive/copy-renew',
  input: z.strictObject({ workloadId: uuid, archiveId: uuid, user: z.string().max(200) }),
  output: z.object({ seconds: z.number().int().positive() }),
});

/** What was given is not needed any more: the credential ends, and with it its lease. Safe to repeat. */
export const copyDoneCommand = Object.freeze({
  path: '/v1/peer/archive/copy-done',
  input: z.strictObject({ workloadId: uuid, archiveId: uuid, user: z.string().max(200) }),
  output: z.object({ ok: z.literal(true) }),
});

/**
 * The archive has ended at the first site, so the copy may go too. `over` is false while the keeper retains it: by its own
 * minimum age, or under a hold. Safe to repeat.
 */
export const copyEndCommand = Object.freeze({
  path: '/v1/peer/archive/copy-end',
  input: z.strictObject({ workloadId: uuid, archiveId: uuid }),
  output: z.object({ over: z.boolean() }),
});
