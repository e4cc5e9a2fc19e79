import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

/** Those that a run's end wakes are told of the run, too. */
const ofArchive = z.object({ archiveId: z.uuid() });
const once = { attempts: 1, backoffMs: 1_000 };

/** Lets recovery points go, and prunes. Whoever does so has the repository for itself, by its row. */
export const tendRetentionJob = defineJob({
  name: 'archive.tend-retention',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
  slotMs: 5_000,
});
/** Proves one recovery point, and wakes the next. */
export const proveJob = defineJob({
  name: 'archive.prove',
  queue: 'archive-care',
  payload: z.strictObject({}),
  retry: once,
});
/** Compares what the last runs of an archive did with the runs before. */
export const lookAtChangesJob = defineJob({
  name: 'archive.look-at-changes',
  queue: 'archive',
  payload: ofArchive,
  retry: once,
});
/** Reads a part of an archive's repository. */
export const checkArchiveJob = defineJob({
  name: 'archive.check',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
});
/** Brings the second copy up to date. It may take days the first time, and one process does it once at a time. */
export const copyArchiveJob = defineJob({
  name: 'archive.copy',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
  slotMs: 5_000,
});
/** Reads a part of what this site keeps for another one. */
export const checkKeptCopyJob = defineJob({
  name: 'archive.check-kept-copy',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
});
/** Ends for good what was removed days ago. */
export const sweepRemovedJob = defineSweep('archive.sweep-removed', 3_600_000);
/** Looks for objects that are none, in an archive with which something did not work. */
export const findJunkJob = defineJob({
  name: 'archive.find-junk',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
  slotMs: 5_000,
});
/** Finds what is to be looked after. */
export const sweepTendingJob = defineSweep('archive.sweep-tending', 15_000);
