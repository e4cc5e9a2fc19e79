import { z } from 'zod';
import { ArchiveWorkError } from '../errors.js';
import { resticFailure } from '../restic/failures.js';
import { checkError, checkSummary, listedSnapshot } from '../restic/messages.js';
import type { Repository } from '../restic/repository.js';
import { CheckFindings } from './check-failure.js';
import { NOTHING, type Outcome, type WorkAtHand } from './outcome.js';

/** restic takes them as arguments, and a command line has its bounds. */
const AT_ONCE = 500;
/** As restic says that the vault did not let it remove something. */
const RETAINED = /remove|403/;

/** Forgets these and frees what nothing else needs. One that is gone already is no fault: the work may be a repetition. */
export async function forgetSnapshots({ repository }: WorkAtHand, ids: readonly string[]): Promise<Outcome> {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    await repository.require(['forget', ...ids.slice(from, from + AT_ONCE)]);
  }
  const kept = await presentOf(repository, ids);
  if (kept.length > 0) {
    // Before 0.19 restic takes a snapshot that the vault does not give up for forgotten.
    throw new ArchiveWorkError(
      'vault-refused',
      `The vault keeps ${kept.length} of ${ids.length} recovery points, the first being ${kept[0] ?? ''}: they are too young, held, or not this credential's to remove.`,
    );
  }
  await repository.require(['prune']);
  return { ...NOTHING, state: 'completed' };
}

/**
 * The same at the second copy. Its keeper's minimum age ends later than the first site's: what it retains goes another time,
 * and what only the others used goes now. The cache is that of the first site, where other packs may lie.
 */
export async function tidyCopy({ repository }: WorkAtHand, ids: readonly string[]): Promise<Outcome> {
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const end = await repository.call(['forget', '--no-cache', ...ids.slice(from, from + AT_ONCE)]);
    repository.signal.throwIfAborted();
    if (end.code !== 0 && !end.words.some((line) => RETAINED.test(line))) throw resticFailure(end);
  }
  await repository.require(['prune', '--no-cache', '--max-repack-size=0']);
  return { ...NOTHING, state: 'completed' };
}

async function presentOf(repository: Repository, ids: readonly string[]): Promise<string[]> {
  const present = new Set<string>();
  await repository.require(['snapshots'], {
    unlocked: true,
    onMessage: (message) => {
      const list = z.array(listedSnapshot).safeParse(message);
      if (list.success) for (const { id } of list.data) present.add(id);
    },
  });
  return ids.filter((id) => present.has(id));
}

/**
 * Reads one share of the packs, and the structure of all of it.
 *
 * @throws ArchiveWorkError naming what is damaged; ResticFailedError when the vault did not let it be made
 */
export async function checkPart({ repository }: WorkAtHand, part: number, of: number): Promise<Outcome> {
  const findings = new CheckFindings();
  const end = await repository.call(['check', `--read-data-subset=${Math.min(part, of)}/${of}`], {
    onMessage: (message) => {
      const error = checkError.safeParse(message);
      if (error.success) findings.add(repository.withoutSecrets(error.data.message));
      findings.addPacks(checkSummary.safeParse(message).data?.broken_packs ?? []);
    },
    onWords: (line) => findings.add(repository.withoutSecrets(line)),
  });
  repository.signal.throwIfAborted();
  if (end.code === 0) return { ...NOTHING, state: 'completed' };
  throw findings.failure(end);
}
