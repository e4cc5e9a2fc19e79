import { DomainError, type DomainErrorOptions } from '#libs/platform/errors';

/** A command that this version of the agent does not have. */
export class ArchiveCommandUnknownError extends DomainError {
  constructor(path: string) {
    super('not-found', 'agent.command-unknown', `This agent does not know the command ${path}. Update it.`);
  }
}

/** The input of a command does not fit. */
export class ArchiveCommandInvalidError extends DomainError {
  constructor(path: string, faults: string) {
    super('invalid', 'agent.command-invalid', `The agent cannot read the command ${path}: ${faults}`);
  }
}

/** A site names a workload that agent.json does not list. */
export class ArchiveNotListedError extends DomainError {
  constructor(name: string) {
    super(
      'not-found',
      'workload.not-listed',
      `The agent's configuration does not list a workload "${name}". Add it to agent.json on the agency's machine, or correct the name.`,
    );
  }
}

/** Another work runs on the same repository. Safe to repeat. */
export class RepositoryBusyError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.busy',
      'The agent works on this repository already. Begin this work once that has ended.',
    );
  }
}

/** A work cannot be done, or not gone on with: it ends as failed with this code and text. Neither names a secret. */
export class ArchiveWorkError extends DomainError {
  constructor(code: string, message: string, options: DomainErrorOptions = {}) {
    super('precondition', `archive.${code}`, message, options);
  }
}
