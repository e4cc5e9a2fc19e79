import { DomainError, type DomainErrorOptions } from '#libs/platform/errors';

export class NotPreparedError extends DomainError {
  constructor(workloadId: string) {
    super('precondition', 'driver.not-prepared', 'This site holds no standby of the workload. Prepare one first.', {
      detail: workloadId,
    });
  }
}

export class NotSeededError extends DomainError {
  constructor(workloadId: string) {
    super('precondition', 'driver.not-seeded', 'The standby has no data yet, or only part of it. Seed it first.', {
      detail: workloadId,
    });
  }
}

export class NotAStandbyError extends DomainError {
  constructor(workloadId: string) {
    super('precondition', 'driver.not-a-standby', 'The server was promoted. Seed it anew to make it follow another.', {
      detail: workloadId,
    });
  }
}

export class VersionUnsupportedError extends DomainError {
  constructor(wanted: number, supported: readonly number[]) {
    super(
      'precondition',
      'driver.version-unsupported',
      `This site does not run PostgreSQL ${wanted}; it runs ${supported.join(', ') || 'none'}. ` +
        `Install it at the site (apt-get install -y postgresql-${wanted}), or choose another site.`,
    );
  }
}

/** Looked at again soon: somebody is making room, and asking costs nothing. */
const DISK_RETRY_SECONDS = 10;

export class DiskFullError extends DomainError {
  constructor(neededBytes: number | undefined, freeBytes: number | undefined, options: DomainErrorOptions = {}) {
    const figures =
      neededBytes === undefined || freeBytes === undefined
        ? ''
        : ` The copy needs ${gigabytes(neededBytes)} GB, and ${gigabytes(freeBytes)} GB are free.`;
    super(
      'precondition',
      'driver.disk-full',
      `The site's disk is too full for the standby.${figures} Add space at the site; it then goes on by itself.`,
      { ...options, facts: { retryAfterSeconds: DISK_RETRY_SECONDS } },
    );
  }
}

export class TablespaceRefusedError extends DomainError {
  /** @param why goes to the log: it may tell of another agency */
  constructor(location: string, roots: readonly string[], why: string, cause?: unknown) {
    super(
      'precondition',
      'driver.tablespace-refused',
      `The tablespace directory ${location} cannot be had at this site. Make new tablespaces below ${roots.join(' or ')}, ` +
        'in a folder that bears the name of the agency, and no more than 64.',
      { detail: `${location}: ${why}`, cause },
    );
  }
}

/** Libraries that the site's PostgreSQL has not, or that are named by a place instead of a name. */
export class LibraryRefusedError extends DomainError {
  constructor(libraries: readonly string[]) {
    super(
      'precondition',
      'driver.library-refused',
      `The server loads libraries that this site does not load: ${libraries.join(', ').slice(0, 500)}. Ask the provider to ` +
        'install them, name those by a bare name that are named by a path, or remove what nobody needs.',
    );
  }
}

/** The server answers, but not in the way that the operation needs; may be tried again. */
export class StandbyError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('unavailable', 'driver.standby', message, options);
  }
}

/** The site's own set-up is not fit: a person must change it. */
export class SiteHostError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('precondition', 'driver.host', message, options);
  }
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1);
}
