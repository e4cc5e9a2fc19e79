import { ArchiveWorkError } from '../errors.js';
import type { ResticEnd } from './run-restic.js';

export type ResticFailureCode =
  | 'repository-absent'
  | 'repository-locked'
  | 'wrong-password'
  | 'vault-full'
  | 'vault-busy'
  | 'vault-refused'
  | 'vault-certificate'
  | 'vault-unreachable'
  | 'restic-failed';

/**
 * By the exit codes that restic has since 0.17, and by its words before; the first that fits counts. That there is no
 * repository is believed of a plain 404 only: whoever believes it may make one.
 */
const FAILURES: readonly { code: ResticFailureCode; exit?: number; words: RegExp; text: string }[] = [
  {
    code: 'wrong-password',
    exit: 12,
    words: /wrong password or no key found/i,
    text: 'The password does not open the repository.',
  },
  {
    code: 'repository-locked',
    exit: 11,
    words: /already locked|unable to create lock/i,
    text: 'Another restic works on the repository.',
  },
  {
    code: 'vault-full',
    words: /\b507\b|insufficient storage/i,
    text: "The archive's quota in the vault, or the vault's disk, is full.",
  },
  {
    code: 'vault-busy',
    words: /\b503\b|service unavailable/i,
    text: 'The vault is busy with its own upkeep. What was to be done is done later.',
  },
  {
    code: 'vault-refused',
    words: /\b40[13] (unauthorized|forbidden)/i,
    text: 'The vault does not let the agent in.',
  },
  {
    code: 'vault-certificate',
    words: /x509|certificate/i,
    text: "The vault's certificate is not the one that the site has announced.",
  },
  {
    code: 'vault-unreachable',
    words:
      /connection refused|no such host|no route to host|i\/o timeout|network is unreachable|\bEOF\b|connection reset/i,
    text: "The vault does not answer. See that this machine's way out lets it through.",
  },
  {
    code: 'repository-absent',
    exit: 10,
    words: /config\S* does not exist/i,
    text: 'There is no repository in the vault yet.',
  },
];

export class ResticFailedError extends ArchiveWorkError {
  constructor(
    readonly failure: ResticFailureCode,
    text: string,
  ) {
    super(failure, text);
  }
}

/** What an end that was no success means to the person who must act, with restic's own words. */
export function resticFailure({ code, words }: ResticEnd): ResticFailedError {
  const said = words
    .filter((line) => line.trim() !== '')
    .slice(-6)
    .join(' ');
  // Its last words count most: those before may be about a try that went well in the end.
  const known =
    FAILURES.find(({ exit }) => exit !== undefined && exit === code) ?? FAILURES.find((each) => each.words.test(said));
  if (known) return new ResticFailedError(known.code, said === '' ? known.text : `${known.text} restic says: ${said}`);
  const how = code === null ? 'was ended' : `failed (${code})`;
  return new ResticFailedError('restic-failed', `restic ${how}${said === '' ? '' : `: ${said}`}`);
}
