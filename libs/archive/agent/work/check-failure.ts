import { ArchiveWorkError } from '../errors.js';
import { type ResticFailureCode, resticFailure } from '../restic/failures.js';
import type { ResticEnd } from '../restic/run-restic.js';

/** Why a check could not be made, rather than what it found. */
const NOT_MADE: readonly ResticFailureCode[] = [
  'vault-busy',
  'vault-refused',
  'vault-certificate',
  'vault-unreachable',
  'repository-locked',
];
/** restic's last words of a check that has come to its end, and what it adds for whoever reads it. */
const ENDED = /repository contains errors|LoadIndex returned errors/;
const ADVICE = /^\s*$|The repository is damaged|troubleshooting/;
const WORDS = 800;

/**
 * What a check that was no success says. Only what it found in the repository is `check-failed`, with the packs by their
 * names, so that the site can look at them.
 *
 * @param errors restic's messages
 * @param packs that restic calls broken
 */
export function checkFailure(end: ResticEnd, errors: readonly string[], packs: readonly string[]): ArchiveWorkError {
  const said = errors.filter((line) => !ADVICE.test(line)).map((line) => line.trim());
  const ended = end.words.some((line) => ENDED.test(line));
  const reasons = said.map((line) => resticFailure({ code: 1, words: [plain(line)] }));
  const failure = ended ? reasons.at(-1) : resticFailure(end);
  const found = ended && !(reasons.length > 0 && reasons.every((reason) => NOT_MADE.includes(reason.failure)));
  if (failure && !found && NOT_MADE.includes(failure.failure)) return failure;
  const named = said.flatMap((line) => [...line.matchAll(/\bpack ([0-9a-f]{64})\b/g)].map(([, id = '']) => id));
  const broken = [...new Set([...named, ...packs])].map((id) => `pack ${id}`);
  const words = [...said, ...end.words].slice(-6).join(' ').slice(-WORDS);
  return new ArchiveWorkError('check-failed', `The check found faults: ${[...broken.slice(0, 12), words].join(' ')}`);
}

/** Without the names of files, which may say anything, and without the end of a pack that is too short. */
function plain(line: string): string {
  return line.replaceAll(/"[^"]*"/g, '').replaceAll('unexpected EOF', '');
}
