import { DomainError } from '#libs/platform/errors';

/** Another run of this workload is open here: one at a time. */
export class RunConflictError extends DomainError {
  constructor(detail: string) {
    super(
      'conflict',
      'failover.run-open',
      'A failover of this workload is under way at this site. Let it finish, or cancel it first.',
      { detail },
    );
  }
}

/** The standby cannot take over: nothing whole is here. */
export class NotPromotableError extends DomainError {
  constructor(state: string) {
    super(
      'conflict',
      'failover.not-promotable',
      'This site holds no whole copy of the workload yet, so it cannot take over. Choose the other site.',
      { detail: state },
    );
  }
}

/** The order was written before a promotion that this site knows of. */
export class StaleEpochError extends DomainError {
  constructor(known: number, offered: number) {
    super(
      'conflict',
      'failover.epoch-stale',
      'The workload has been promoted since this was decided. Look at where it runs now.',
      { detail: `known ${known}, offered ${offered}` },
    );
  }
}

export class RunTooLateError extends DomainError {
  constructor(message: string) {
    super('conflict', 'failover.too-late', message);
  }
}

/** The promotion was to begin, and the run was cancelled at the same moment, or its claim is another's. */
export class RunInterruptedError extends Error {
  constructor() {
    super('the run is not to go on here');
    this.name = 'RunInterruptedError';
  }
}

/** A step failed, and is to be tried again later: until then the run is given back. */
export class StepPostponedError extends Error {
  constructor(step: string, cause: unknown) {
    super(`the step ${step} failed and is tried again later`, { cause });
    this.name = 'StepPostponedError';
  }
}
