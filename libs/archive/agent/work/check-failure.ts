import { ArchiveWorkError } from '../errors.js';
import { type ResticFailedError, type ResticFailureCode, resticFailure } from '../restic/failures.js';
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
const LINES = 6;
const PACKS = 12;

/**
 * What a check says on its way, as much of it as its end is told by: of a badly damaged repository restic may say millions
 * of lines.
 */
export class CheckFindings {
  /** Packs, by what restic's messages say, and by its summary. */
  private readonly named = new Set<string>();
  private readonly broken = new Set<string>();
  private readonly last: string[] = [];
  /** Something was said that is no reason for which a check cannot be made. */
  private found = false;
  private notMade: ResticFailedError | undefined;

  /** One of restic's messages. */
  add(message: string): void {
    if (ADVICE.test(message)) return;
    const line = message.trim();
    for (const [, id = ''] of line.matchAll(/\bpack ([0-9a-f]{64})\b/g)) note(this.named, id);
    this.last.push(line.slice(-WORDS));
    if (this.last.length > LINES) this.last.shift();
    if (this.found) return;
    const reason = resticFailure({ code: 1, words: [plain(line)] });
    if (NOT_MADE.includes(reason.failure)) this.notMade = reason;
    else this.found = true;
  }

  /** Packs that restic calls broken. */
  addPacks(ids: readonly string[]): void {
    for (const id of ids) note(this.broken, id);
  }

  /**
   * What a check that was no success says. Only what it found in the repository is `check-failed`, with the packs by their
   * names, so that the site can look at them.
   */
  failure(end: ResticEnd): ArchiveWorkError {
    const ended = end.words.some((line) => ENDED.test(line));
    const failure = ended ? this.notMade : resticFailure(end);
    const found = ended && (this.found || this.notMade === undefined);
    if (failure && !found && NOT_MADE.includes(failure.failure)) return failure;
    const packs = [...new Set([...this.named, ...this.broken])].map((id) => `pack ${id}`);
    const words = [...this.last, ...end.words].slice(-LINES).join(' ').slice(-WORDS);
    return new ArchiveWorkError(
      'check-failed',
      `The check found faults: ${[...packs.slice(0, PACKS), words].join(' ')}`,
    );
  }
}

/** The first ones are enough. */
function note(packs: Set<string>, id: string): void {
  if (packs.size < PACKS) packs.add(id);
}

/** Without the names of files, which may say anything, and without the end of a pack that is too short. */
function plain(line: string): string {
  return line.replaceAll(/"[^"]*"/g, '').replaceAll('unexpected EOF', '');
}
