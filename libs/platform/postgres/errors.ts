import { DomainError, type DomainErrorOptions } from '../errors/index.js';

/** PostgreSQL's programs are not on this machine, or not in the wanted version. */
export class PostgresNotFoundError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('unavailable', 'postgres.not-found', message, options);
  }
}

/** The machine lacks what PostgreSQL needs from it, such as the unprivileged user. */
export class PostgresHostError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('precondition', 'postgres.host', message, options);
  }
}

/** One of PostgreSQL's programs failed; `detail` has the end of what it wrote to stderr, with secrets struck out. */
export class PostgresToolError extends DomainError {
  constructor(
    readonly tool: string,
    readonly exitCode: number | null,
    readonly reason: 'failed' | 'timeout' | 'aborted' | 'not-started',
    detail: string,
    cause?: unknown,
  ) {
    super(
      'internal',
      `postgres.tool-${reason}`,
      `${tool} ${describe(reason, exitCode)}. See the log for what it said.`,
      {
        detail,
        cause,
      },
    );
  }
}

/** A server of ours did not do what it was told (start, stop) in time, or its directory is not usable. */
export class PostgresServerError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('unavailable', 'postgres.server', message, options);
  }
}

function describe(reason: PostgresToolError['reason'], exitCode: number | null): string {
  switch (reason) {
    case 'failed':
      return exitCode === null ? 'was killed by a signal' : `failed with exit code ${exitCode}`;
    case 'timeout':
      return 'did not end in time and was stopped';
    case 'aborted':
      return 'was cancelled';
    case 'not-started':
      return 'could not be started';
  }
}
