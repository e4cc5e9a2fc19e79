import { z } from 'zod';
import { defineJob, defineSweep } from '#libs/platform/queue';

const ofArchive = z.strictObject({ archiveId: z.uuid() });
const once = { attempts: 1, backoffMs: 1_000 };
/** A look at an agent takes so long at most; whoever waits for one that hangs keeps nobody else waiting. */
const LOOK_SLOT_MS = 1_000;

/** Brings an archive to where its row wants it: ready, or ended. */
export const reconcileArchiveJob = defineJob({
  name: 'archive.reconcile',
  queue: 'archive',
  payload: ofArchive,
  retry: once,
  slotMs: 5_000,
});
/** One step of a run: begins it, or looks how far it is, or takes its end in. */
export const advanceRunJob = defineJob({
  name: 'archive.advance-run',
  queue: 'archive',
  payload: z.strictObject({ runId: z.uuid() }),
  retry: once,
  slotMs: LOOK_SLOT_MS,
});
/** The same of a restore. */
export const advanceRestoreJob = defineJob({
  name: 'archive.advance-restore',
  queue: 'archive',
  payload: z.strictObject({ restoreId: z.uuid() }),
  retry: once,
  slotMs: LOOK_SLOT_MS,
});
/** Hands a way out to the agency's machine. */
export const handExitJob = defineJob({
  name: 'archive.hand-exit',
  queue: 'archive',
  payload: z.strictObject({ exitId: z.uuid() }),
  retry: once,
  slotMs: LOOK_SLOT_MS,
});
/** Lays the newest point of a folder out at the site. */
export const standingCopyJob = defineJob({
  name: 'archive.standing-copy',
  queue: 'archive-care',
  payload: ofArchive,
  retry: once,
});

/** What is under way is looked at so often. */
export const sweepWorkJob = defineSweep('archive.sweep-work', 2_000);
/** Archives to bring to where they should be, and runs that are due. */
export const sweepArchivesJob = defineSweep('archive.sweep', 5_000);
/** Alarms, stored bytes, snapshots that no run told of, standing copies, keys to seal anew. */
export const sweepFactsJob = defineSweep('archive.sweep-facts', 30_000);

/** The jobs that a site process runs for archives themselves. */
export const OWN_JOBS = [
  reconcileArchiveJob,
  advanceRunJob,
  advanceRestoreJob,
  handExitJob,
  standingCopyJob,
  sweepWorkJob,
  sweepArchivesJob,
  sweepFactsJob,
] as const;
