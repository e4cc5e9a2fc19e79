import { lstat } from 'node:fs/promises';
import type { FilesWorkload } from '#libs/sites/agent';
import { resticFailure } from '../restic/failures.js';
import { backupSummary, errorMessage, errorWords, statusMessage, type BackupSummary } from '../restic/messages.js';
import { asPattern, backupArguments, STAGING_PREFIX } from './backup-arguments.js';
import { compare } from './compare.js';
import { type BackupWork, Faults, NOTHING, type Outcome, type WorkAtHand } from './outcome.js';
import { progressOf, snapshotOf } from './summaries.js';

/** restic's exit code for a snapshot that lacks what could not be read. */
const INCOMPLETE = 3;

/** restic archives a link as such, be it one that agent.json names. */
export async function linksAmong(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(paths.map((each) => lstat(each).catch(() => undefined)));
  return paths.filter((_, index) => found[index]?.isSymbolicLink());
}

/**
 * Files and folders. What cannot be read is listed and makes the work partial.
 *
 * @param ownDirectory the agent's state, which never goes into an archive: it holds its keys
 */
export async function backupFiles(
  { workload, repository, report }: WorkAtHand & { readonly workload: FilesWorkload },
  work: BackupWork,
  ownDirectory: string,
): Promise<Outcome> {
  const faults = new Faults();
  for (const link of await linksAmong(workload.paths)) {
    faults.add(link, 'It is a link, and only that is archived. Name in agent.json what it leads to.');
  }
  let summary: BackupSummary | undefined;
  const end = await repository.call(
    [
      ...backupArguments(workload.name, work, null),
      ...workload.excludes.map((pattern) => `--exclude=${pattern}`),
      `--exclude=${STAGING_PREFIX}*`,
      `--exclude=${asPattern(ownDirectory)}`,
      ...(workload.oneFileSystem ? ['--one-file-system'] : []),
      '--',
      ...workload.paths,
    ],
    {
      onMessage: (message) => {
        const status = statusMessage.safeParse(message);
        if (status.success) return report(progressOf(status.data));
        const error = errorMessage.safeParse(message);
        // What the count beforehand stumbles on, the backup itself stumbles on too.
        if (error.success && error.data.during !== 'scan') faults.add(error.data.item, errorWords(error.data));
        const last = backupSummary.safeParse(message);
        if (last.success) summary = last.data;
      },
      onWords: (line) => {
        const missing = /^(.+) does not exist, skipping$/.exec(line)?.[1];
        if (missing !== undefined) faults.add(missing, 'It is not there.');
      },
    },
  );
  repository.signal.throwIfAborted();
  if (end.code !== 0 && end.code !== INCOMPLETE) throw resticFailure(end);
  if (end.code === INCOMPLETE && faults.count === 0) faults.add('', 'restic could not read everything.');
  const made = await snapshotOf(summary, null, repository);
  const change = await compare(repository, work.previous[0], made.id);
  return {
    ...NOTHING,
    state: faults.count > 0 ? 'partial' : 'completed',
    snapshots: [{ ...made, summary: { ...made.summary, filesRemoved: change?.filesRemoved ?? null } }],
    removed: change?.removed ?? [],
    renamedCount: change?.renamedCount ?? null,
    faultCount: faults.count,
    faults: faults.told,
  };
}
