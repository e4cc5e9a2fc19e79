import { lstat, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { ArchiveWorkError } from '../errors.js';
import { requireFeature } from '../restic/program.js';
import { asPattern, limitArguments, STAGING_PREFIX } from './backup-arguments.js';
import { loadingNote } from './loading-note.js';
import { Faults, NOTHING, type Outcome, type RestoreWork, type WorkAtHand, type WorkSurroundings } from './outcome.js';
import { dropFaulty, Placing } from './placing.js';
import { folderPlace, normalized, originalPlaces, type RestorePlace } from './restore-places.js';
import { runRestore } from './run-restore.js';
import { noteStaging } from './work-store.js';

const MISSING = 'It is not in this recovery point.';

interface Restoring {
  readonly at: WorkAtHand;
  readonly work: RestoreWork;
  readonly workId: string;
  readonly faults: Faults;
  readonly sum: { restored: number; skipped: number; bytes: number };
}

/**
 * Brings files of a snapshot back to where they were, or into a folder (by their whole path, as restic does). Unless told
 * otherwise nothing that is there is replaced: all of it is restored beside its place first. What may replace is done by
 * restic in place, which reads only what differs.
 *
 * @throws ArchiveWorkError before anything was written
 */
export async function restore(at: WorkAtHand, work: RestoreWork, surroundings: WorkSurroundings): Promise<Outcome> {
  const { workload, repository } = at;
  const restoring: Restoring = {
    at,
    work,
    workId: surroundings.workId,
    faults: new Faults(),
    sum: { restored: 0, skipped: 0, bytes: 0 },
  };
  const { target } = work;
  let folder: string | undefined;
  let places: readonly RestorePlace[];
  if (target.kind === 'folder') {
    folder = await folderPlace(workload, target.path, surroundings);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    places = [{ anchor: folder, paths: work.paths.map(normalized) }];
  } else places = await originalPlaces(workload, work.paths);
  const beside = work.overwrite === 'never' || workload.kind !== 'files';
  if (!beside) requireFeature(repository.restic, 'restore-in-place', 'a restore over files that are there');
  const stagings = places.map(({ anchor }) => path.join(anchor, `${STAGING_PREFIX}${surroundings.workId}`));
  if (beside) await noteStaging(repository.directory, stagings);
  const streams = workload.kind !== 'files' && folder !== undefined ? folder : undefined;
  let note: string | undefined;
  let cancelled = false;
  try {
    for (const place of places) {
      if (beside) note = await restoreBeside(restoring, place, folder, streams);
      else await restoreInPlace(restoring, place, folder);
    }
  } catch (error) {
    // What was placed stays, and is counted.
    if (!repository.signal.aborted) throw error;
    cancelled = true;
  } finally {
    if (beside) for (const staging of stagings) await rm(staging, { recursive: true, force: true });
  }
  const { faults, sum } = restoring;
  return {
    ...NOTHING,
    state: cancelled ? 'cancelled' : faults.count > 0 ? 'partial' : 'completed',
    filesRestored: sum.restored,
    filesSkipped: sum.skipped,
    bytesRestored: sum.bytes,
    faultCount: faults.count,
    faults: faults.told,
    ...(note === undefined ? {} : { note }),
  };
}

/** @returns how what was restored is loaded, of a dump */
async function restoreBeside(
  { at, work, workId, faults, sum }: Restoring,
  { anchor, paths }: RestorePlace,
  folder: string | undefined,
  streams: string | undefined,
): Promise<string | undefined> {
  const { repository, workload } = at;
  const staging = path.join(anchor, `${STAGING_PREFIX}${workId}`);
  await mkdir(staging, { mode: 0o700 });
  const { faulty } = await runRestore(at, faults, [
    work.snapshotId,
    `--target=${staging}`,
    ...includes(paths),
    ...limitArguments(work.limits, ['download', 'upload']),
  ]);
  await dropFaulty(staging, faulty);
  const placing = new Placing(faults, repository.signal, work.overwrite !== 'never');
  try {
    for (const each of paths) {
      if (await ifPresent(lstat(path.join(staging, each)))) continue;
      if (!faulty.has(each)) faults.add(each, MISSING);
    }
    const note = streams === undefined ? undefined : await loadingNote(workload, staging, streams);
    // In a folder the whole path is kept; back to where it was, what leads to the anchor is there already.
    const from = folder === undefined ? path.join(staging, anchor) : staging;
    if (await ifPresent(lstat(from))) await placing.merge(from, anchor);
    return note;
  } finally {
    sum.restored += placing.restored;
    sum.skipped += placing.skipped;
    sum.bytes += placing.bytes;
  }
}

async function restoreInPlace(
  { at, work, faults, sum }: Restoring,
  { anchor, paths }: RestorePlace,
  folder: string | undefined,
): Promise<void> {
  const below = folder === undefined ? anchor : '/';
  // The anchor itself is wanted: then it is all that is below it.
  const wanted = paths.includes(below) ? [] : paths.map((each) => path.join('/', path.relative(below, each)));
  const { restored, skipped, bytes } = await runRestore(at, faults, [
    below === '/' ? work.snapshotId : `${work.snapshotId}:${below}`,
    `--target=${anchor}`,
    `--overwrite=${work.overwrite}`,
    ...includes(wanted),
    ...limitArguments(work.limits, ['download', 'upload']),
  ]);
  // restic says nothing of what it does not find.
  if (restored + skipped === 0) for (const each of paths) faults.add(each, MISSING);
  sum.restored += restored;
  sum.skipped += skipped;
  sum.bytes += bytes;
}

/** As arguments, which have their bounds. */
const INCLUDES_LONGEST = 1_000_000;

function includes(paths: readonly string[]): string[] {
  const found = paths.map((each) => `--include=${asPattern(each)}`);
  if (found.reduce((length, each) => length + each.length, 0) > INCLUDES_LONGEST) {
    throw new ArchiveWorkError(
      'too-many-paths',
      'So many paths are too long for one restore. Restore their folder instead.',
    );
  }
  return found;
}
