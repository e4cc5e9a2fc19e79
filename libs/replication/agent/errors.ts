import { REGIONAL_LEADS_CODE } from '#contracts/replication';
import { DomainError, errorText, type DomainErrorOptions } from '#libs/platform/errors';

/** The agency's server does not answer, or not in time. Safe to repeat. */
export class WorkloadUnreachableError extends DomainError {
  constructor(name: string, cause: unknown) {
    super('unavailable', 'workload.unreachable', `The PostgreSQL server of "${name}" does not answer the agent.`, {
      detail: errorText(cause),
      cause,
    });
  }
}

/** A site asked for something that the agent's configuration does not list. */
export class WorkloadNotListedError extends DomainError {
  constructor(name: string) {
    super(
      'not-found',
      'workload.not-listed',
      `The agent's configuration does not list a workload "${name}". Add it to agent.json on the agency's server, or correct the name.`,
    );
  }
}

/** Only the tunnel, with the regional site's word or a person's, lists the metro in its place. */
export class RegionalLeadsError extends DomainError {
  constructor() {
    super(
      'precondition',
      REGIONAL_LEADS_CODE,
      'The regional site is the synchronous one. Return to the metro site instead of arming it: it comes back by itself once it has been near for 30 seconds.',
    );
  }
}

/** Another process of the agent's is changing synchronous_standby_names. Safe to repeat. */
export class NamesBusyError extends DomainError {
  constructor() {
    super('unavailable', 'replication.names-busy', 'The synchronous site is being changed. Try again in a moment.');
  }
}

/** The agency's server is not in the state that the command needs; the message says what to do. */
export class ReplicationRefusedError extends DomainError {
  constructor(code: string, message: string, options: DomainErrorOptions = {}) {
    super('precondition', `replication.${code}`, message, options);
  }
}
