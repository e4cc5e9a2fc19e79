import type { ArchiveState } from '#contracts/archive';
import { DomainError } from '#libs/platform/errors';

export class ArchiveExistsError extends DomainError {
  constructor(archiveId: string, state: ArchiveState) {
    super(
      'conflict',
      'archive.exists',
      state === 'ending'
        ? 'The archive of this workload is ending: its last recovery points are kept until their time. A new one can be made once it has ended.'
        : 'This workload is archived already. Change its archive instead (PATCH /v1/archives/{id}).',
      { facts: { archiveId, state } },
    );
  }
}

export class ArchiveEndingError extends DomainError {
  constructor() {
    super('conflict', 'archive.ending', 'This archive is ending or has ended: nothing of it can be changed or run.');
  }
}

/** One that is ending still has what it keeps. */
export class ArchiveEndedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.ended',
      'This archive has ended: its repository is gone from its site, and nothing of it can be brought back.',
    );
  }
}

export class ArchivePausedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.paused',
      'This archive is paused. Resume it first (PATCH /v1/archives/{id} with paused false).',
    );
  }
}

export class WorkloadArchivedError extends DomainError {
  constructor(archiveId: string) {
    super(
      'conflict',
      'workload.archived',
      'This workload has an archive. End it first (DELETE /v1/archives/{id}); its recovery points stay until their time.',
      { facts: { archiveId } },
    );
  }
}

export class MinimumAgeShrinksError extends DomainError {
  constructor(days: number) {
    super(
      'conflict',
      'archive.minimum-age-shrinks',
      `Nothing of this archive is removed in its first ${days} days: the vault holds that, and it can be made longer, never shorter.`,
      { facts: { minimumAgeDays: days } },
    );
  }
}

export class SecondSiteFixedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.second-site-fixed',
      'The second copy of this archive stays where it is. A second site can be added where there is none.',
    );
  }
}

export class SameSiteError extends DomainError {
  constructor() {
    super('unprocessable', 'archive.same-site', 'The second copy must be at another site than the archive.');
  }
}

export class ChecksNeedDumpsError extends DomainError {
  constructor(reason: 'source' | 'key') {
    super(
      'unprocessable',
      'archive.checks-not-possible',
      reason === 'source'
        ? 'Checks are queries of a restored dump: only an archive of a PostgreSQL server has them.'
        : 'Checks run on dumps that the site restores, and with a customer-held key it cannot read them.',
    );
  }
}

/** Canaries are files of a restored recovery point. */
export class CanariesNeedFilesError extends DomainError {
  constructor(reason: 'source' | 'key') {
    super(
      'unprocessable',
      'archive.canaries-not-possible',
      reason === 'source'
        ? 'Canaries are files: only an archive of folders has them. For a database, write a check.'
        : 'Canaries are compared where the site restores them, and with a customer-held key it cannot read them.',
    );
  }
}

/** What only who can read the archive can do. */
export class KeyHeldByCustomerError extends DomainError {
  constructor(text: string) {
    super('conflict', 'archive.key-customer-held', text);
  }
}

export class RunOpenError extends DomainError {
  constructor(runId: string) {
    super(
      'conflict',
      'archive-run.open',
      'A run of this archive waits or is under way. Wait for its end, or cancel it.',
      {
        facts: { runId },
      },
    );
  }
}

export class RunEndedError extends DomainError {
  constructor(state: string) {
    super('conflict', 'archive-run.ended', 'This run has ended already.', { facts: { state } });
  }
}

export class RestoreEndedError extends DomainError {
  constructor(state: string) {
    super('conflict', 'restore.ended', 'This restore has ended already. What it has brought back stays there.', {
      facts: { state },
    });
  }
}

export class TooManyRestoresError extends DomainError {
  constructor(most: number) {
    super(
      'too-many',
      'restore.too-many',
      `At most ${most} restores of an agency are open at once. Wait, or cancel one.`,
      {
        facts: { most },
      },
    );
  }
}

export class RestoreFolderNeededError extends DomainError {
  constructor() {
    super(
      'unprocessable',
      'restore.folder-needed',
      'A dump has no place where it was: say the folder on the agency’s machine that it is to be written to ({"kind": "folder", "path": "/…"}).',
    );
  }
}

export class PointGoneError extends DomainError {
  constructor() {
    super(
      'conflict',
      'recovery-point.gone',
      'This recovery point has been removed from the archive. Choose another one.',
    );
  }
}

export class PointHeldError extends DomainError {
  constructor(text: string) {
    super('conflict', 'recovery-point.held', text);
  }
}

export class NotHeldError extends DomainError {
  constructor() {
    super('conflict', 'recovery-point.not-held', 'Nobody holds this recovery point.');
  }
}

/** Deeds that an API key, which anybody may have copied, must not do. */
export class PersonNeededError extends DomainError {
  constructor() {
    super('forbidden', 'archive.person-needed', 'A person must say this: sign in as a member. An API key cannot.');
  }
}

export class AuthorityNeededError extends DomainError {
  constructor() {
    super(
      'forbidden',
      'archive.authority-needed',
      'This needs an owner, or a member with the authority to declare a failover.',
    );
  }
}

export class SecondPersonNeededError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.second-person-needed',
      'You asked for this yourself. Another member with the authority must say it too.',
    );
  }
}

export class AskerGoneError extends DomainError {
  constructor() {
    super(
      'conflict',
      'archive.asker-gone',
      'Whoever asked for this first has lost the authority since, so that word counts no more. Withdraw it (DELETE), ask anew, and have another member approve it.',
    );
  }
}

export class DropOpenError extends DomainError {
  constructor() {
    super(
      'conflict',
      'drop-request.open',
      'It has been asked already that this recovery point be dropped. Another member approves it, or it is withdrawn.',
    );
  }
}

export class NoDropAskedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'drop-request.none',
      'Nobody asks that this recovery point be dropped, or it is decided already.',
    );
  }
}

export class ChangeJudgedError extends DomainError {
  constructor() {
    super('conflict', 'mass-change.judged', 'It has been said already what this change was.');
  }
}

/** A site told of something that is not there, not its own, or another agency's: nothing of it is kept. */
export class ForeignArchiveReportError extends DomainError {
  constructor(what: string, id: string) {
    super('unprocessable', 'archive.foreign-report', 'The report is not of an archive of this site.', {
      detail: `${what} ${id}`,
    });
  }
}
