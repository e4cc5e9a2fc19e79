import type { StateDirectory } from '#libs/sites/agent';
import { ArchiveWorkError } from '../errors.js';
import { commandPart } from '../sources/command-source.js';
import { dumpParts } from '../sources/postgres-dumps.js';
import { backupFiles } from './backup-files.js';
import { backupStreams } from './backup-streams.js';
import { type BackupWork, Faults, type Outcome, type WorkAtHand } from './outcome.js';

/** @throws ArchiveWorkError when agent.json lists the workload as something else, or nothing could be archived */
export async function backup(at: WorkAtHand, work: BackupWork, state: StateDirectory): Promise<Outcome> {
  const { workload, repository } = at;
  if (workload.kind !== work.source) {
    throw new ArchiveWorkError(
      'other-source',
      `agent.json lists "${workload.name}" as ${workload.kind}, and Mainstay archives it as ${work.source}. Correct one of them.`,
    );
  }
  const faults = new Faults();
  switch (workload.kind) {
    case 'files':
      return backupFiles({ ...at, workload }, work, state.path);
    case 'command':
      return backupStreams(at, work, [await commandPart(workload)], faults);
    case 'postgresql':
      return backupStreams(at, work, await dumpParts(workload, repository.directory, faults), faults);
  }
}
