import { DomainError, errorCode, type DomainErrorOptions } from '../../errors/index.js';
import { SESSION_LOST } from './wire.js';

/** The source no longer has the session: it was restarted, or the session ran out. The copy goes on with a new one. */
export class BackupSessionLostError extends DomainError {
  constructor(options: DomainErrorOptions = {}) {
    super('conflict', SESSION_LOST, 'The copy must be taken up anew: its source was restarted.', options);
  }
}

/** A source or a target that cannot be what it says it is. */
export class BackupRefusedError extends DomainError {
  constructor(message: string, options: DomainErrorOptions = {}) {
    super('precondition', 'backup.refused', message, options);
  }
}

export function isSessionLost(error: unknown): boolean {
  return errorCode(error) === SESSION_LOST;
}
