import { can } from '../restic/program.js';
import { ResticFailedError, resticFailure } from '../restic/failures.js';
import { backupSummary, statusMessage, type BackupSummary } from '../restic/messages.js';
import type { Repository, RepositoryCall } from '../restic/repository.js';
import type { ResticEnd } from '../restic/run-restic.js';
import type { SourcePart } from '../sources/source-part.js';
import { backupArguments } from './backup-arguments.js';
import { GuardedSource } from './guarded-source.js';
import { type BackupWork, type Faults, NOTHING, type Outcome, type WorkAtHand } from './outcome.js';
import { type MadeSnapshot, progressOf, snapshotOf } from './summaries.js';

/** The program that makes the stream failed; the repository is well. */
class SourceFailedError extends Error {}

/**
 * Streams, one snapshot for each. One that fails leaves no snapshot and makes the work partial; the others go on, unless
 * it is the vault that fails.
 *
 * @throws ResticFailedError when the vault failed, or everything did
 */
export async function backupStreams(
  at: WorkAtHand,
  work: BackupWork,
  parts: readonly SourcePart[],
  faults: Faults,
): Promise<Outcome> {
  const made: MadeSnapshot[] = [];
  let failure: Error | undefined;
  for (const [index, part] of parts.entries()) {
    const before = made.reduce((bytes, each) => bytes + each.bytes, 0);
    try {
      made.push(
        await backupStream(at, work, part, (bytes) =>
          at.report({
            filesDone: index,
            filesTotal: parts.length,
            bytesDone: before + bytes,
            bytesTotal: null,
            secondsLeft: null,
          }),
        ),
      );
    } catch (error) {
      at.repository.signal.throwIfAborted();
      failure = error as Error;
      faults.add(part.fileName, failure.message);
      if (!(error instanceof SourceFailedError)) {
        for (const { fileName } of parts.slice(index + 1)) faults.add(fileName, 'It was not tried: the vault failed.');
        break;
      }
    }
  }
  const vaultFailure = failure instanceof ResticFailedError ? { code: failure.code, message: failure.message } : null;
  const nothing = {
    code: 'archive.source-failed',
    message: `Nothing could be archived. ${faults.told[0]?.what ?? 'There is nothing to archive.'}`,
  };
  return {
    ...NOTHING,
    state: made.length === 0 ? 'failed' : faults.count > 0 ? 'partial' : 'completed',
    snapshots: made,
    faultCount: faults.count,
    faults: faults.told,
    failure: vaultFailure ?? (made.length === 0 ? nothing : null),
  };
}

async function backupStream(
  { workload, repository }: WorkAtHand,
  work: BackupWork,
  part: SourcePart,
  report: (bytes: number) => void,
): Promise<MadeSnapshot> {
  let summary: BackupSummary | undefined;
  const call: RepositoryCall = {
    ...(part.env ? { env: part.env } : {}),
    onMessage: (message) => {
      const status = statusMessage.safeParse(message);
      if (status.success) report(progressOf(status.data).bytesDone);
      const last = backupSummary.safeParse(message);
      if (last.success) summary = last.data;
    },
  };
  // A stream is read whole anyway. With one before it to compare with, restic would read that, which a run of streams may not.
  const args = [...backupArguments(workload.name, work, part.part), '--force', `--stdin-filename=${part.fileName}`];
  const end = can(repository.restic, 'stdin-from-command')
    ? await repository.call([...args, '--stdin-from-command', '--', ...part.command], call)
    : await throughPipe(repository, args, part, call);
  repository.signal.throwIfAborted();
  if (end.code !== 0) throw sourceFailure(end) ?? resticFailure(end);
  return snapshotOf(summary, part.part, repository);
}

/** What the program itself said stands in restic's words, one line after the other. */
function sourceFailure({ words }: ResticEnd): SourceFailedError | undefined {
  if (!words.some((line) => /command failed|failed to start command/.test(line))) return undefined;
  const said = words.map((line) => /^subprocess [^:]+: (.*)$/.exec(line)?.[1]).filter((line) => line !== undefined);
  return new SourceFailedError(`The program that makes it failed: ${said.slice(-5).join(' ') || words.at(-1) || ''}`);
}

async function throughPipe(
  repository: Repository,
  args: readonly string[],
  part: SourcePart,
  call: RepositoryCall,
): Promise<ResticEnd> {
  const source = GuardedSource.start(part, repository.directory);
  try {
    const end = await repository
      .call([...args, '--stdin'], {
        ...call,
        stdin: source.stream,
        alsoUntil: source.failed,
        onStarted: () => source.handOver(),
      })
      .catch((error: unknown) => {
        // It had failed before restic was started.
        if (source.failed.aborted) return { code: 1, words: [] };
        throw error;
      });
    const words = source.failure();
    return words === undefined ? end : { code: 1, words };
  } finally {
    source.end();
  }
}
