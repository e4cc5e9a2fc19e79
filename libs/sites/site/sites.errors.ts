import { DomainError, type DomainErrorOptions } from '#libs/platform/errors';

/** The agent has no live link to this site, or did not answer in time. Worth another try later. */
export class AgentUnreachableError extends DomainError {
  constructor(options: DomainErrorOptions = {}) {
    super(
      'unavailable',
      'agent.unreachable',
      "The agency's agent does not answer this site. Check that it runs and that its server reaches the site.",
      options,
    );
  }
}

/** The agent answered that it will not, and why; `code` and the text are the agent's own. */
export class AgentRefusedError extends DomainError {
  constructor(code: string, message: string, options: DomainErrorOptions = {}) {
    super('unprocessable', code, message, options);
  }
}

/** The other site of a pair does not answer. Worth another try later. */
export class PeerUnreachableError extends DomainError {
  constructor(options: DomainErrorOptions = {}) {
    super('unavailable', 'peer-site.unreachable', 'The other warm site does not answer.', options);
  }
}

/** The other site answered that it will not, and why. */
export class PeerRefusedError extends DomainError {
  constructor(code: string, message: string, options: DomainErrorOptions = {}) {
    super('unprocessable', code, message, options);
  }
}

/** More than the control plane takes in one piece. Trying again does not help. */
export class ResultTooLargeError extends DomainError {
  constructor(kind: string, bytes: number) {
    super(
      'unprocessable',
      'result.too-large',
      'The agency’s server has more to tell than can be told at once, such as its parameters, rules and extensions.',
      { detail: `${kind}: ${bytes} bytes` },
    );
  }
}
