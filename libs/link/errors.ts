import { DomainError, type ErrorKind } from '#libs/platform/errors';
import type { RefusalCode } from './contract.js';

export class KeyFileExposedError extends DomainError {
  constructor(path: string) {
    super('precondition', 'link.key-file-exposed', `Others may read the key file: run "chmod 600 ${path}".`);
  }
}

export class KeyUnusableError extends DomainError {
  constructor(why: string, cause?: unknown) {
    super('invalid', 'link.key-unusable', `The key cannot be used: ${why}.`, { cause });
  }
}

/** The other end is not the one that was agreed on, or no gateway at all. */
export class PinMismatchError extends DomainError {
  constructor(expected: string, found: string) {
    super(
      'forbidden',
      'link.pin-mismatch',
      'The server that answered is not the one this end was enrolled with. Check the address, and for a proxy that opens TLS.',
      { detail: `expected ${expected}, found ${found}` },
    );
  }
}

/** The gateway answered the hello with a refusal. */
export class HelloRefusedError extends DomainError {
  constructor(
    readonly refusal: RefusalCode,
    message: string,
  ) {
    super(refusal === 'busy' || refusal === 'unavailable' ? 'unavailable' : 'forbidden', `link.${refusal}`, message);
  }
}

/** The handshake broke off, or was not of this protocol. */
export class HandshakeError extends DomainError {
  constructor(why: string, cause?: unknown) {
    super('unavailable', 'link.handshake-failed', `The link could not be set up: ${why}.`, { cause });
  }
}

export class NotConnectedError extends DomainError {
  constructor(what: string) {
    super('unavailable', 'link.not-connected', `There is no live link to ${what}.`);
  }
}

export class LinkLostError extends DomainError {
  constructor(why: string, cause?: unknown) {
    super('unavailable', 'link.lost', `The link was lost: ${why}.`, { cause });
  }
}

export class LinkTimeoutError extends DomainError {
  constructor(what: string, milliseconds: number) {
    super('unavailable', 'link.timeout', `There was no answer to ${what} within ${milliseconds / 1000} s.`);
  }
}

/** Thrown by a handler that will not connect a workload: not listed, not protected, not this peer's. */
export class WorkloadRefusedError extends DomainError {
  constructor(workload: string, why = 'it is not one that may be reached') {
    super('forbidden', 'link.workload-refused', `Workload "${workload}" is refused: ${why}.`);
  }
}

export class WorkloadUnreachableError extends DomainError {
  constructor(workload: string, cause?: unknown) {
    super('unavailable', 'link.workload-unreachable', `Workload "${workload}" does not answer where it should.`, {
      cause,
    });
  }
}

export class MessageTooLargeError extends DomainError {
  constructor(bytes: number) {
    super('invalid', 'link.message-too-large', `A message over the link is longer than ${bytes} bytes.`);
  }
}

/** What the other end answered to a request, with its own code and text. */
export class RemoteError extends DomainError {
  constructor(kind: ErrorKind, code: string, message: string) {
    super(kind, code, message);
  }
}
