import { DomainError } from '#libs/platform/errors';

/** One text for a wrong password, an unknown address and a closed account: it must not tell which addresses exist. */
export class SignInRefusedError extends DomainError {
  constructor() {
    super('unauthenticated', 'session.refused', 'The e-mail address or the password is wrong.');
  }
}

export class CodeRequiredError extends DomainError {
  constructor() {
    super('unauthenticated', 'session.code-required', 'Send the code of your authenticator app too, as code.');
  }
}

export class CodeWrongError extends DomainError {
  constructor() {
    super('unauthenticated', 'session.code-wrong', 'The code is wrong or has been used up. Wait for the next one.');
  }
}

export class SignInLockedError extends DomainError {
  constructor(retryAfterSeconds: number) {
    super('too-many', 'session.locked', 'Too many refused sign-ins. Wait, or use an API key meanwhile.', {
      facts: { retryAfterSeconds },
    });
  }
}

export class PasswordUnfitError extends DomainError {
  constructor(text: string) {
    super('unprocessable', 'password.unfit', text);
  }
}

export class TwoFactorStateError extends DomainError {
  constructor(text: string) {
    super('conflict', 'two-factor.state', text);
  }
}
