import {
  ARCHIVE_STATES,
  type ArchiveState,
  RESTORE_STATES,
  type restoreState,
  RUN_STATES,
  type RunState,
} from '#contracts/archive';
import type { z } from 'zod';

export type RestoreState = z.infer<typeof restoreState>;

/** How an archive's state may change by its site's word. That it is to end is a person's word, and stands. */
const ARCHIVE_TRANSITIONS: Readonly<Record<ArchiveState, readonly ArchiveState[]>> = {
  preparing: ['preparing', 'active', 'paused', 'failed', 'ending', 'ended'],
  active: ['preparing', 'active', 'paused', 'failed', 'ending', 'ended'],
  paused: ['preparing', 'active', 'paused', 'failed', 'ending', 'ended'],
  failed: ['preparing', 'active', 'paused', 'failed', 'ending', 'ended'],
  ending: ['ending', 'ended'],
  ended: [],
};

/** The state after the site's word: the one before it where the word comes too late. */
export const archiveStateAfter = (before: ArchiveState, told: ArchiveState): ArchiveState =>
  ARCHIVE_TRANSITIONS[before].includes(told) ? told : before;

/** Whether an archive may still be changed, run and restored from as one that goes on. */
export const goesOn = (state: ArchiveState): boolean => state !== 'ending' && state !== 'ended';

/** What has ended stays as it ended, whatever is told of it again. */
const ENDED_RUNS: readonly RunState[] = ['completed', 'partial', 'failed', 'cancelled'];
export const OPEN_RUNS: readonly RunState[] = RUN_STATES.filter((state) => !ENDED_RUNS.includes(state));
export const runHasEnded = (state: RunState): boolean => ENDED_RUNS.includes(state);

const ENDED_RESTORES: readonly RestoreState[] = ['completed', 'partial', 'failed', 'cancelled'];
export const OPEN_RESTORES: readonly RestoreState[] = RESTORE_STATES.filter((state) => !ENDED_RESTORES.includes(state));
export const restoreHasEnded = (state: RestoreState): boolean => ENDED_RESTORES.includes(state);
export { ARCHIVE_STATES };

/** A request to drop a recovery point before its time. */
export const DROP_STATES = ['asked', 'approved', 'done', 'retained', 'failed', 'withdrawn', 'expired'] as const;
export type DropState = (typeof DROP_STATES)[number];
