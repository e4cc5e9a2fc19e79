import { DomainError } from '#libs/platform/errors';

/** restic's own exit codes (its manual, "Scripting"). */
export const RESTIC = { noRepository: 10, locked: 11, wrongPassword: 12, interrupted: 130 } as const;

/** restic ended with a failure; `messages` are its own words, without secrets. */
export class ResticFailedError extends DomainError {
  constructor(
    /** Null when it was ended by a signal. */
    readonly exitCode: number | null,
    readonly messages: readonly string[],
  ) {
    super('unavailable', 'archive.restic', `restic failed: ${messages.at(-1) ?? `exit code ${exitCode}`}`, {
      detail: `exit code ${exitCode}: ${messages.join(' | ')}`,
    });
  }
}

/** Not installed, or too old. */
export class ResticMissingError extends DomainError {
  constructor(found: string) {
    super('unavailable', 'archive.no-restic', 'The site has no restic that it can use.', {
      detail: `restic 0.17 or newer is needed; ${found}`,
    });
  }
}
