import { z } from 'zod';
import { divergenceFound, epoch } from '#contracts/replication';
import { lsn } from '#contracts/sites';

/**
 * What must never be forgotten about a server, in one file that is on the disk before anything is done by it. `fenced`
 * is written first and carried out afterwards, so that a crash in between ends in a fenced server.
 */
export const fencingRecord = z.strictObject({
  /** The epoch in which this server may write; null until a site has said one. */
  confirmedEpoch: epoch.nullable(),
  /** The newest epoch that any site has shown. */
  highestSeen: epoch.nullable(),
  fenced: z
    .strictObject({
      epoch,
      at: z.iso.datetime(),
      evidence: z.string(),
      /** False until the server is known to be stopped and closed. */
      done: z.boolean(),
      /** All that the server had is before this; null when it did not end cleanly. Starts of the closed server keep it. */
      endLsn: lsn.nullable().default(null),
      workloadId: z.uuid(),
      promotedAtLsn: lsn.nullable(),
      promotedTimeline: z.number().int().nullable(),
    })
    .nullable(),
  divergence: divergenceFound.payload.nullable(),
});
export type FencingRecord = z.infer<typeof fencingRecord>;

export const EMPTY_FENCING: FencingRecord = { confirmedEpoch: null, highestSeen: null, fenced: null, divergence: null };
