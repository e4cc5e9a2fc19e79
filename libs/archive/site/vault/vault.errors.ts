import { DomainError } from '#libs/platform/errors';

/**
 * An answer of the vault's that is no success. restic tries a failed request again for 15 minutes, but takes 401, 403,
 * 404, 416 and 507 as final: so each status here says whether trying again can help.
 */
export class VaultAnswerError extends DomainError {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 405 | 411 | 416 | 500 | 503 | 507,
    code: string,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
    detail?: string,
  ) {
    super(KINDS[status], code, message, detail === undefined ? {} : { detail });
  }
}

const KINDS = {
  400: 'invalid',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not-found',
  405: 'invalid',
  411: 'invalid',
  416: 'invalid',
  500: 'internal',
  503: 'unavailable',
  507: 'unavailable',
} as const;

export class ObjectNotFoundError extends VaultAnswerError {
  constructor(label: string) {
    super(404, 'object.not-found', 'There is no such object in this repository.', {}, label);
  }
}

/** The disk, or the bucket, takes no more. */
export class StorageFullError extends VaultAnswerError {
  constructor(detail: string) {
    super(507, 'vault.full', 'The vault has no room at the moment. Ask the provider; nothing was stored.', {}, detail);
  }
}

export class QuotaReachedError extends VaultAnswerError {
  constructor(quotaBytes: number) {
    super(507, 'vault.quota', `The repository has reached its quota of ${quotaBytes} bytes. Nothing was stored.`);
  }
}

/** Another operation on the same object has not ended, and it is not there: sent again, it is stored. */
export class ObjectContestedError extends VaultAnswerError {
  constructor(label: string) {
    super(503, 'vault.conflict', 'Something else is done with this object at the moment. Try again.', {}, label);
  }
}

/** Bytes on the storage that do not hash to the object's name: they are not served. */
export class ObjectDamagedError extends VaultAnswerError {
  constructor(label: string) {
    super(500, 'object.damaged', 'This object is damaged at the vault, and is not served.', {}, label);
  }
}

/** Another agency's repository, one that does not exist and a wrong secret are the same answer. */
export class VaultCredentialError extends VaultAnswerError {
  constructor() {
    super(401, 'vault.credential', 'The credential does not open this repository.', {
      'www-authenticate': 'Basic realm="mainstay vault", charset="UTF-8"',
    });
  }
}

export class NotAllowedError extends VaultAnswerError {
  constructor(what: string) {
    super(403, 'vault.not-allowed', what);
  }
}
