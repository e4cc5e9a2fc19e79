import { DomainError } from '#libs/platform/errors';
import type { Scope } from './access/scopes.js';

/** One text for a wrong, used and expired token. */
export class TokenInvalidError extends DomainError {
  constructor() {
    super('unprocessable', 'token.invalid', 'This token is wrong, has been used or has expired. Ask for a new mail.');
  }
}

export class PasswordNeededError extends DomainError {
  constructor() {
    super(
      'unprocessable',
      'invitation.password-needed',
      'Send a password and a name: there is no account with this address yet.',
    );
  }
}

export class AgencyChoiceError extends DomainError {
  constructor(agencies: readonly { id: string; name: string }[]) {
    super(
      'conflict',
      'session.choose-agency',
      'You are a member of several agencies. Send the agencyId of one of them.',
      {
        facts: { agencies },
      },
    );
  }
}

export class ScopeMissingError extends DomainError {
  constructor(scope: Scope) {
    super('forbidden', 'scope.missing', `This needs the scope ${scope}, which the caller does not have.`, {
      facts: { scope },
    });
  }
}

export class DeclareMissingError extends DomainError {
  constructor() {
    super('forbidden', 'declare.missing', 'This needs the authority to declare a failover. An owner can grant it.');
  }
}

export class LastOwnerError extends DomainError {
  constructor() {
    super('conflict', 'member.last-owner', 'This is the last owner of the agency: make another member an owner first.');
  }
}

export class AlreadyMemberError extends DomainError {
  constructor() {
    super('conflict', 'member.exists', 'This person is a member of the agency already.');
  }
}

export class AlreadyInvitedError extends DomainError {
  constructor() {
    super('conflict', 'invitation.exists', 'This person is invited already. Withdraw that invitation to send another.');
  }
}

export class TooManyInvitationsError extends DomainError {
  constructor() {
    super(
      'too-many',
      'invitation.too-many',
      'An agency sends 50 invitations a day at most, and three to one person. Send more tomorrow.',
      { facts: { retryAfterSeconds: 3_600 } },
    );
  }
}

export class ScopesNotYoursError extends DomainError {
  constructor(scopes: readonly Scope[]) {
    super(
      'forbidden',
      'api-key.scopes',
      `You cannot give a key scopes that it may not have or that you lack: ${scopes.join(', ')}.`,
      {
        facts: { scopes },
      },
    );
  }
}

/** An agency has as many of something as one agency may. */
export class QuotaReachedError extends DomainError {
  constructor(what: string, most: number) {
    super(
      'conflict',
      'quota.reached',
      `An agency may have ${most} ${what}. Remove some, or ask the provider for more.`,
      {
        facts: { most },
      },
    );
  }
}
