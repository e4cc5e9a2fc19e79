import type { Failure } from '#contracts/archive';
import { DomainError } from '#libs/platform/errors';

/** A failure has so much room. */
const WORDS = 2_000;

/** What people are told of an error: its own words where it has some for them. */
export const failureOf = (error: unknown): Failure =>
  error instanceof DomainError
    ? { code: error.code, message: error.message.slice(0, WORDS) }
    : { code: 'internal', message: 'The site met a fault of its own and tries again.' };

/** The agency alone can read this archive. */
export class CustomerHeldError extends DomainError {
  constructor(what: string) {
    super(
      'unprocessable',
      'archive.customer-held',
      `The agency alone holds the password of this archive, so the site cannot ${what}. Do it at the agent.`,
    );
  }
}

/** The archive is not where this can be done. */
export class ArchiveStateError extends DomainError {
  constructor(state: string) {
    super('conflict', 'archive.state', `The archive is ${state}: this cannot be done now.`);
  }
}

/** Another workload, source or key mode than the archive was made with. */
export class ArchiveChangedError extends DomainError {
  constructor(what: string) {
    super('conflict', 'archive.fixed', `The ${what} of an archive stays as it was made. Make another archive.`);
  }
}

/** Objects are being taken away that a look, or a file, may need. */
export class ArchivePrunedError extends DomainError {
  constructor() {
    super(
      'unavailable',
      'archive.busy',
      'The archive is being tidied up just now, and cannot be looked into meanwhile. Try again in some minutes.',
    );
  }
}
