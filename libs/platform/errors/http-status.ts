import type { ErrorKind } from './domain-error.js';

/** The HTTP status of each kind of fault, at every border where we speak HTTP: one total table. */
export const STATUS_OF_KIND: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  conflict: 409,
  unprocessable: 422,
  precondition: 412,
  'too-many': 429,
  unavailable: 503,
  internal: 500,
};
