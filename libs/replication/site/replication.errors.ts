import { DomainError } from '#libs/platform/errors';
import type { Finding, StandbyState } from '#contracts/replication';

/** Another change of the row came in between: read it again and decide anew. */
export class StandbyChangedError extends DomainError {
  constructor(workloadId: string) {
    super('unavailable', 'standby.changed', 'The standby was changed at the same time. It is looked at again.', {
      detail: workloadId,
    });
  }
}

/** A transition that the table does not have: a fault of ours, never a person's. */
export class StandbyTransitionError extends DomainError {
  constructor(from: StandbyState, to: StandbyState) {
    super('internal', 'standby.transition', 'The standby cannot go from one of these states to the other.', {
      detail: `${from} → ${to}`,
    });
  }
}

export class WorkloadElsewhereError extends DomainError {
  constructor(detail: string) {
    super(
      'conflict',
      'workload.agent-differs',
      'This site protects the workload for another agent or in another role. End that protection first.',
      { detail },
    );
  }
}

/** A person's request to go on without the metro came while a failover forbids it. */
export class DegradeRefusedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'degrade.refused',
      'A failover of this workload has begun, so production may not go on without the warm site. Cancel the failover first.',
    );
  }
}

/** The grant arrived after the time that it was given for. */
export class DegradeExpiredError extends DomainError {
  constructor() {
    super(
      'conflict',
      'degrade.expired',
      'The time that production was to go on without the warm site had passed when the order arrived. Grant it again if it is still wanted.',
    );
  }
}

/** The other site asks for a standby's data, and there is none to be had yet. */
export class StandbyNotServingError extends DomainError {
  constructor(state: StandbyState | 'absent') {
    super('unavailable', 'standby.not-serving', 'This site cannot serve its copy yet. Ask again when it streams.', {
      detail: state,
    });
  }
}

/** What answers under the workload's name is another cluster: copying it would overwrite the only good copy. */
export class SourceReplacedError extends DomainError {
  constructor(detail: string) {
    super(
      'conflict',
      'source.replaced',
      "The agency's server is another cluster than the one this standby was copied from (restored, upgraded or newly made). Protect it as a workload of its own, or end this protection first.",
      { detail },
    );
  }
}

export class NotStreamingError extends DomainError {
  constructor(detail: string) {
    super(
      'unavailable',
      'standby.not-streaming',
      "The standby runs but gets no stream from the agency's server. It is tried again; the agency's server log says what it refuses.",
      { detail },
    );
  }
}

/** After a failover the data here is the agency's only current one. */
export class RunsHereError extends DomainError {
  constructor() {
    super(
      'conflict',
      'workload.runs-here',
      'The workload runs at this site since its failover: what is here is production. Move it home before you end its protection.',
    );
  }
}

export class HeldByRunError extends DomainError {
  constructor(detail: string) {
    super(
      'conflict',
      'workload.failover-open',
      'A failover of this workload is under way. Let it finish, or cancel it first.',
      { detail },
    );
  }
}

/** What signs for a workload's front door: clients trust it, so that another is not made in its place. */
export class AuthorityUnusableError extends DomainError {
  constructor(detail: string) {
    super('internal', 'standby.authority-unusable', "The authority of the workload's front door cannot be used.", {
      detail,
    });
  }
}

/** This site's PostgreSQL is not of the kind that the server's copy needs. */
export class SiteUnfitError extends DomainError {
  constructor(blockers: readonly Pick<Finding, 'what' | 'remedy'>[]) {
    const texts = blockers.map(({ what, remedy }) => `${what} ${remedy}`);
    super('precondition', 'standby.site-unfit', texts.join(' '));
  }
}
