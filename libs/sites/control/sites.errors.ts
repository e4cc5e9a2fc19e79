import { DomainError, type ErrorKind } from '#libs/platform/errors';

/** The site did not answer. What was asked is kept as an order, if it was one, and delivered later. */
export class SiteUnreachableError extends DomainError {
  constructor(
    readonly siteId: string,
    detail: string,
    cause?: unknown,
  ) {
    super('unavailable', 'site.unreachable', 'The warm site does not answer just now. Try again in a moment.', {
      detail: `${siteId}: ${detail}`,
      cause,
      facts: { siteId },
    });
  }
}

/** The site answered a question with a refusal, in words for whoever asked. */
export class SiteRefusedError extends DomainError {
  constructor(kind: ErrorKind, code: string, message: string) {
    super(kind, code, message);
  }
}

export class TooManyQuestionsError extends DomainError {
  constructor(most: number) {
    super(
      'too-many',
      'site.too-many-questions',
      `At most ${most} folders and files of an agency are read at once. Wait for an answer, then ask again.`,
      { facts: { most, retryAfterSeconds: 2 } },
    );
  }
}

export class SiteNameTakenError extends DomainError {
  constructor(name: string) {
    super('conflict', 'site.name-taken', `There is a site named "${name}" already. Choose another name.`);
  }
}

export class SiteKnownError extends DomainError {
  constructor(id: string) {
    super('conflict', 'site.known', 'A site with this id is registered already. Change it instead (PATCH).', {
      facts: { siteId: id },
    });
  }
}

export class SiteInUseError extends DomainError {
  constructor(uses: number) {
    super(
      'conflict',
      'site.in-use',
      'Workloads are still protected or archived at this site. Remove their protections and end their archives, then retire it.',
      { facts: { uses } },
    );
  }
}

export class EnrolmentTokenUnknownError extends DomainError {
  constructor() {
    super(
      'unauthenticated',
      'enrolment-token.unknown',
      'This enrolment token is not known. Copy it whole, or make a new one (POST /v1/enrolment-tokens).',
    );
  }
}

export class EnrolmentTokenUsedError extends DomainError {
  constructor() {
    super(
      'conflict',
      'enrolment-token.used',
      'This enrolment token has been used by another agent. Make a new one for this agent (POST /v1/enrolment-tokens).',
    );
  }
}

export class EnrolmentTokenExpiredError extends DomainError {
  constructor() {
    super(
      'conflict',
      'enrolment-token.expired',
      'This enrolment token has expired or was withdrawn. Make a new one (POST /v1/enrolment-tokens).',
    );
  }
}

export class AgentKeyInvalidError extends DomainError {
  constructor() {
    super(
      'invalid',
      'agent.key-invalid',
      'publicKey must be an Ed25519 key as SPKI in PEM, as mainstay-agent makes it.',
    );
  }
}

export class AgentProofInvalidError extends DomainError {
  constructor() {
    super(
      'unauthenticated',
      'agent.proof-invalid',
      'The agent could not prove itself. Ask for a new challenge (POST /v1/agents/challenge) and sign it with the key made at enrolment.',
    );
  }
}

export class AgentRevokedError extends DomainError {
  constructor() {
    super('forbidden', 'agent.revoked', 'This agent has been revoked. Enrol it anew with a new token.');
  }
}

export class NoSiteError extends DomainError {
  constructor() {
    super('unavailable', 'site.none', 'No warm site is in operation yet. Ask the provider.');
  }
}
