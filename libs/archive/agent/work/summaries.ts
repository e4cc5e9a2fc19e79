import type { Progress, RunSummary, WorkResult } from '#contracts/archive';
import { z } from 'zod';
import { ArchiveWorkError } from '../errors.js';
import { listedSnapshot, type BackupSummary, type StatusMessage } from '../restic/messages.js';
import type { Repository } from '../restic/repository.js';

export type MadeSnapshot = WorkResult['snapshots'][number];

const whole = (value: number): number => Math.max(0, Math.round(value));

export function progressOf(status: StatusMessage): Progress {
  return {
    filesDone: whole(status.files_done || status.files_restored),
    filesTotal: status.total_files === undefined ? null : whole(status.total_files),
    bytesDone: whole(status.bytes_done || status.bytes_restored),
    bytesTotal: status.total_bytes === undefined ? null : whole(status.total_bytes),
    secondsLeft: status.seconds_remaining ?? null,
  };
}

/** @throws ArchiveWorkError when restic names no snapshot, or one that is not there */
export async function snapshotOf(
  summary: BackupSummary | undefined,
  part: string | null,
  repository: Repository,
): Promise<MadeSnapshot> {
  if (summary?.snapshot_id === undefined) {
    throw new ArchiveWorkError('no-snapshot', 'restic ended without a word about a snapshot.');
  }
  return {
    id: await fullId(summary.snapshot_id, repository),
    part,
    files: whole(summary.total_files_processed),
    bytes: whole(summary.total_bytes_processed),
    summary: summaryOf(summary),
  };
}

function summaryOf(said: BackupSummary): RunSummary {
  return {
    filesNew: whole(said.files_new),
    filesChanged: whole(said.files_changed),
    filesUnmodified: whole(said.files_unmodified),
    filesRemoved: null,
    bytesProcessed: whole(said.total_bytes_processed),
    bytesAdded: whole(said.data_added),
    // Before 0.16 restic tells only what it was before compression.
    bytesAddedPacked: whole(said.data_added_packed ?? said.data_added),
    seconds: said.total_duration,
  };
}

/** Before 0.17 restic names a snapshot by its first eight digits. */
async function fullId(id: string, repository: Repository): Promise<string> {
  if (/^[0-9a-f]{64}$/.test(id)) return id;
  let found: string | undefined;
  await repository.require(['snapshots', id], {
    unlocked: true,
    onMessage: (message) => {
      const list = z.array(listedSnapshot).safeParse(message);
      if (list.success) found ??= list.data[0]?.id;
    },
  });
  if (found !== undefined) return found;
  throw new ArchiveWorkError('no-snapshot', `restic does not find the snapshot ${id} that it has made.`);
}
