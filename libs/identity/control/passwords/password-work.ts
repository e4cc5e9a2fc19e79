import { Injectable } from '@nestjs/common';
import { DomainError } from '#libs/platform/errors';
import { hashPassword, verifyPassword } from './password.js';

/** Each takes 19 MiB and some 30 ms of a thread of Node's pool, which has four for everything. */
const AT_ONCE = 2;
const WAITING = 48;

/** More people sign in at this moment than can be checked. */
export class PasswordsBusyError extends DomainError {
  constructor() {
    super('unavailable', 'password.busy', 'Too many people sign in just now. Try again in a few seconds.', {
      facts: { retryAfterSeconds: 3 },
    });
  }
}

/** Of a password that nobody has: checking against it takes as long as against one that somebody has. */
const NOBODYS = '$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

/**
 * Hashes and checks passwords: a few at a time, those of known people first, and never inside a transaction, so that a
 * flood of sign-ins takes neither the database's connections nor the process's threads from who is signed in.
 */
@Injectable()
export class PasswordWork {
  private busy = 0;
  private readonly waiting: Record<'first' | 'later', (() => void)[]> = { first: [], later: [] };

  /**
   * For who has proved a mailed token, or is signed in: no flood of strangers keeps them waiting.
   *
   * @throws PasswordsBusyError
   */
  hash(password: string): Promise<string> {
    return this.inTurn('first', () => hashPassword(password));
  }

  /**
   * Whether the password fits. `phc` is undefined for an unknown person: that takes as long, and is false.
   *
   * @throws PasswordsBusyError
   */
  async verify(phc: string | undefined, password: string, lane: 'first' | 'later'): Promise<boolean> {
    const fits = await this.inTurn(lane, () => verifyPassword(phc ?? NOBODYS, password));
    return fits && phc !== undefined;
  }

  private async inTurn<T>(lane: 'first' | 'later', work: () => Promise<T>): Promise<T> {
    if (this.busy >= AT_ONCE) {
      // Each lane has its own bound: strangers that fill theirs leave the other open.
      if (this.waiting[lane].length >= WAITING) throw new PasswordsBusyError();
      await new Promise<void>((resolve) => this.waiting[lane].push(resolve));
    } else {
      this.busy += 1;
    }
    try {
      return await work();
    } finally {
      const next = this.waiting.first.shift() ?? this.waiting.later.shift();
      if (next) next();
      else this.busy -= 1;
    }
  }
}
