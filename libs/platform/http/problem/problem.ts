import { HttpException } from '@nestjs/common';
import { z } from 'zod';
import { DomainError, errorCode, errorText, type PublicFacts, STATUS_OF_KIND } from '#libs/platform/errors';

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad request',
  401: 'Not signed in',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  406: 'Not acceptable',
  408: 'Request timeout',
  409: 'Conflict',
  412: 'Precondition failed',
  413: 'Too large',
  415: 'Unsupported media type',
  422: 'Cannot be processed',
  429: 'Too many requests',
  500: 'Internal error',
  503: 'Not available now',
};

/** An error's body: problem details of RFC 9457, with a stable `code` and the request's id. */
export const problem = z
  .object({
    type: z.string().meta({ description: 'A URI reference that names the kind of problem: /problems/<code>.' }),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'What is wrong and what to do about it.' }),
    code: z.string().meta({ description: 'Stable; for programs.' }),
    requestId: z.string(),
    errors: z
      .array(z.object({ pointer: z.string(), message: z.string() }))
      .optional()
      .meta({ description: 'For a request that does not fit its schema: where, as a JSON pointer, and why.' }),
    facts: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof problem>;

/** What a problem says, before the request's id is added. */
export type ProblemBody = Omit<Problem, 'requestId'>;

/** One place where a request does not fit its schema. */
export interface Misfit {
  readonly pointer: string;
  readonly message: string;
}

/** The request does not fit its schema. */
export class RequestInvalidError extends DomainError {
  constructor(readonly misfits: readonly Misfit[]) {
    super('invalid', 'request.invalid', 'The request does not fit its schema: see errors.');
  }
}

/** Something that this process needs is out of reach for the moment: the same request may work in a second. */
export class TemporarilyUnavailableError extends DomainError {
  constructor(cause: unknown) {
    super('unavailable', 'service.unavailable', 'Mainstay cannot answer this just now. Try again in a moment.', {
      facts: { retryAfterSeconds: 1 },
      detail: errorText(cause),
      cause,
    });
  }
}

const body = (status: number, code: string, detail: string, facts?: PublicFacts): ProblemBody => ({
  type: `/problems/${code}`,
  title: TITLES[status] ?? 'Error',
  status,
  detail,
  code,
  ...(facts && Object.keys(facts).length > 0 ? { facts: { ...facts } } : {}),
});

/** PostgreSQL: deadlock, serialisation, too many connections, shutting down; sockets: refused, reset, timed out. */
const PASSING = /^(40001|40P01|53300|57P0[123]|08\w{3}|55P03|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT)$/;

/** pg-pool's own errors carry no code: no connection was free, or none could be made, in time. */
const NO_CONNECTION = /^timeout exceeded when trying to connect$|^Connection terminated/;

/**
 * PostgreSQL could not take a value for its column's type, range or encoding (a NUL, a number too large, a time that is
 * none): the request's value, since ours are typed.
 */
const UNFIT_VALUE = /^22(003|007|008|021|P02|P05)$/;

function ofHttpStatus(status: number, message: string): ProblemBody {
  if (status === 404) return body(404, 'route.not-found', 'There is no such route. /openapi.json lists them all.');
  if (status >= 500) return body(status, 'internal', 'Something went wrong on our side.');
  return body(status, `http.${status}`, message);
}

/** Turns whatever was thrown into a problem. What the public must not read stays out: it belongs in the log. */
export function toProblem(error: unknown): ProblemBody {
  if (error instanceof RequestInvalidError) {
    return { ...body(400, error.code, error.message), errors: error.misfits.map((misfit) => ({ ...misfit })) };
  }
  if (error instanceof DomainError) {
    const status = STATUS_OF_KIND[error.kind];
    return body(status, error.code, error.message, error.facts);
  }
  if (error instanceof HttpException) return ofHttpStatus(error.getStatus(), error.message);
  if (PASSING.test(errorCode(error) ?? '') || (error instanceof Error && NO_CONNECTION.test(error.message))) {
    return toProblem(new TemporarilyUnavailableError(error));
  }
  if (UNFIT_VALUE.test(errorCode(error) ?? '')) {
    return body(
      400,
      'request.value-unfit',
      'A value of the request is out of range or holds a character that is not allowed.',
    );
  }
  // Fastify's own faults (malformed JSON, body too large) carry the status that they mean.
  if (
    error instanceof Error &&
    'statusCode' in error &&
    typeof error.statusCode === 'number' &&
    error.statusCode < 500
  ) {
    return ofHttpStatus(error.statusCode, error.message);
  }
  return body(500, 'internal', 'Something went wrong on our side. Tell support the request id.');
}
