import { DomainError, type DomainErrorOptions } from '#libs/platform/errors';

/** agent.json is missing or wrong; the message names each fault and never a value. */
export class AgentConfigurationError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('invalid', 'agent.configuration', message, options);
  }
}

/** The agent has not been enrolled, or not completely. */
export class NotEnrolledError extends DomainError {
  constructor(directory: string) {
    super(
      'precondition',
      'agent.not-enrolled',
      `This agent is not enrolled (${directory} holds no assignment). Ask for a token in Mainstay and run: ` +
        `mainstay-agent enroll --token TOKEN --control-url URL --config ${directory}`,
    );
  }
}

/** The control plane refused the enrolment; the message is its own, with what to do. */
export class EnrolmentRefusedError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('conflict', 'agent.enrolment-refused', message, options);
  }
}

/** The control plane did not answer. Nothing is lost: the same command may be given again. */
export class ControlPlaneUnreachableError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('unavailable', 'agent.control-plane-unreachable', message, options);
  }
}
