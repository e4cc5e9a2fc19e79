import { resticFailure } from '../restic/failures.js';
import { errorMessage, errorWords, restoreSummary, statusMessage } from '../restic/messages.js';
import type { Faults, WorkAtHand } from './outcome.js';
import { progressOf } from './summaries.js';

export interface Restored {
  readonly restored: number;
  readonly skipped: number;
  readonly bytes: number;
  /** Paths of the snapshot that were not written whole. */
  readonly faulty: ReadonlySet<string>;
}

/**
 * One run of `restic restore`. What could not be restored goes to the faults.
 *
 * @throws ResticFailedError when nothing is known to be whole; the signal's reason when cancelled
 */
export async function runRestore(
  { repository, report }: WorkAtHand,
  faults: Faults,
  args: readonly string[],
): Promise<Restored> {
  const faulty = new Set<string>();
  const sum = { restored: 0, skipped: 0, bytes: 0 };
  const fault = (item: string, what: string) => {
    faulty.add(item);
    faults.add(item, repository.withoutSecrets(what));
  };
  const end = await repository.call(['restore', ...args], {
    unlocked: true,
    onMessage: (message) => {
      const status = statusMessage.safeParse(message);
      if (status.success) return report(progressOf(status.data));
      const error = errorMessage.safeParse(message);
      if (error.success) fault(error.data.item, errorWords(error.data));
      const last = restoreSummary.safeParse(message);
      if (!last.success) return undefined;
      sum.restored = last.data.files_restored;
      sum.skipped = last.data.files_skipped;
      sum.bytes = last.data.bytes_restored;
    },
    onWords: (line) => {
      // As restic says it before 0.17.
      const [, item, what] = /^ignoring error for (.+?): (.*)$/.exec(line) ?? [];
      if (item !== undefined && what !== undefined) fault(item, what);
    },
  });
  repository.signal.throwIfAborted();
  if (end.code !== 0 && faulty.size === 0) throw resticFailure(end);
  return { ...sum, faulty };
}
