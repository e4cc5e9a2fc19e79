/**
 * What kind of fault an error is. The HTTP border maps each kind to a status (libs/platform/http), so a domain never
 * names a status code.
 */
export const ERROR_KINDS = [
  'invalid',
  'unauthenticated',
  'forbidden',
  'not-found',
  'conflict',
  'unprocessable',
  'precondition',
  'too-many',
  'unavailable',
  'internal',
] as const;
export type ErrorKind = (typeof ERROR_KINDS)[number];

/** Facts that a client may read beside the text, for example `{ retryAfterSeconds: 5 }`. Never secrets. */
export type PublicFacts = Readonly<Record<string, unknown>>;

export interface DomainErrorOptions {
  /** For our logs only: may name hosts, paths, SQL states. Never secrets. */
  readonly detail?: string;
  readonly facts?: PublicFacts;
  readonly cause?: unknown;
}

/**
 * The base of every error that a person or another program is meant to understand.
 *
 * `code` is stable and documented (`workload.not-found`); `message` is public and says what to do; `detail` stays in
 * our logs.
 */
export abstract class DomainError extends Error {
  readonly detail: string | undefined;
  readonly facts: PublicFacts;

  constructor(
    readonly kind: ErrorKind,
    readonly code: string,
    message: string,
    options: DomainErrorOptions = {},
  ) {
    super(message, { cause: options.cause });
    this.name = new.target.name;
    this.detail = options.detail;
    this.facts = options.facts ?? {};
  }
}

/** Another tenant's row and a row that does not exist are the same answer: 404 (design.md, decision 3). */
export class NotFoundError extends DomainError {
  constructor(what: string) {
    super(
      'not-found',
      `${what.replaceAll(' ', '-')}.not-found`,
      `There is no such ${what}, or it is not yours to see.`,
    );
  }
}

/** The text of whatever was thrown, for logs and evidence. Not for clients: it may name hosts and paths. */
export function errorText(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(errorText).join('; ');
  return error instanceof Error ? error.message || error.name : String(error);
}

/** The system or SQLSTATE code of whatever was thrown (`ECONNREFUSED`, `57P03`), if it has one. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** What a look at a file found; undefined when there is none. Every other failure (no right, a bad disk) is passed on. */
export async function ifPresent<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
