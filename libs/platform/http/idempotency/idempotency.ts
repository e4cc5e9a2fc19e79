import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiHeader } from '@nestjs/swagger';
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { DomainError } from '#libs/platform/errors';
import { RequestInvalidError } from '../problem/problem.js';

export const KEY_REQUIRED = Symbol('mainstay idempotency key required');
export const SEVERAL_TRANSACTIONS = Symbol('mainstay several transactions');

/** The route refuses a POST without `Idempotency-Key`: for what must not happen twice by accident. */
export const IdempotencyKeyRequired = (): MethodDecorator =>
  applyDecorators(
    SetMetadata(KEY_REQUIRED, true),
    ApiHeader({ name: 'Idempotency-Key', required: true, description: 'A fresh UUID for each change.' }),
  );

/**
 * The route makes its change in more than one transaction, so its answer is stored after the last and not with the
 * change. Killed in between, its repetition runs anew once the claim has expired: each part must be safe to repeat.
 */
export const SeveralTransactions = (): MethodDecorator => SetMetadata(SEVERAL_TRANSACTIONS, true);

export class IdempotencyKeyMissingError extends DomainError {
  constructor() {
    super('invalid', 'idempotency.key-required', 'Send an Idempotency-Key header (a fresh UUID) with this request.');
  }
}

export class IdempotencyKeyInvalidError extends DomainError {
  constructor() {
    super('invalid', 'idempotency.key-invalid', 'An Idempotency-Key is 8 to 255 visible ASCII characters: use a UUID.');
  }
}

export class RequestInFlightError extends DomainError {
  constructor() {
    super('conflict', 'idempotency.in-flight', 'The same request is being carried out. Ask again in a moment.', {
      facts: { retryAfterSeconds: 1 },
    });
  }
}

export class IdempotencyKeyReusedError extends DomainError {
  constructor() {
    super(
      'unprocessable',
      'idempotency.key-reused',
      'This Idempotency-Key was used for another request. Use a fresh key for each change.',
    );
  }
}

/** @throws IdempotencyKeyInvalidError */
export function checkKey(key: string): string {
  if (!/^[\x21-\x7e]{8,255}$/.test(key)) throw new IdempotencyKeyInvalidError();
  return key;
}

/** An answer as it is stored and sent again. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** JSON, or null for an answer without a body. */
  readonly body: string | null;
}

const sorted = (_name: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

/**
 * What is kept of a repeatable request. The key itself is not: only its hash. Both the request's hash and the answer
 * are under a secret made of the server's and the client's key, so that neither a password in a request nor a key or
 * token in an answer can be had from the database, even with the server's secret.
 */
export class IdempotencySeal {
  readonly keyHash: Buffer;
  private readonly secret: Buffer;

  constructor(serverSecret: string, caller: string, key: string) {
    this.keyHash = createHash('sha256').update(key).digest();
    this.secret = Buffer.from(hkdfSync('sha256', key, serverSecret, `mainstay idempotency ${caller}`, 32));
  }

  /** A hash by which the same request is known again. @throws RequestInvalidError for a body nested too deep */
  requestHash(method: string, path: string, body: unknown): Buffer {
    let json: string;
    try {
      json = JSON.stringify(body ?? null, sorted);
    } catch {
      // Nested so deep that it cannot be walked: no route takes such a body.
      throw new RequestInvalidError([{ pointer: '', message: 'is nested too deep' }]);
    }
    const text = `${method} ${path}\n${json}`;
    return createHmac('sha256', this.secret).update(text).digest();
  }

  seal(answer: StoredAnswer): Buffer {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.secret, nonce);
    const sealed = Buffer.concat([cipher.update(JSON.stringify(answer), 'utf8'), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
  }

  open(sealed: Buffer): StoredAnswer {
    const decipher = createDecipheriv('aes-256-gcm', this.secret, sealed.subarray(0, 12));
    decipher.setAuthTag(sealed.subarray(12, 28));
    const text = Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()]).toString('utf8');
    return JSON.parse(text) as StoredAnswer;
  }
}
