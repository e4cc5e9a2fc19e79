export * from './access/access.js';
export { AccessUndeclaredError, NotSignedInError } from './access/access.check.js';
export { type Answer, Answers } from './shapes/answers.js';
export { SESSION_COOKIE } from './border.js';
export { Doorkeeper } from './limits/doorkeeper.js';
export * from './http-app.js';
export * from './http-options.js';
export {
  IdempotencyKeyRequired,
  IdempotencyKeyReusedError,
  RequestInFlightError,
  SeveralTransactions,
} from './idempotency/idempotency.js';
export { describeApi } from './shapes/open-api.js';
export { instant } from './shapes/instant.js';
export * from './shapes/page.js';
export * from './access/principal.js';
export {
  problem,
  type Problem,
  RequestInvalidError,
  TemporarilyUnavailableError,
  toProblem,
} from './problem/problem.js';
export { Limit } from './limits/rate-limit.interceptor.js';
export { type Quota, RateLimiter, TooManyRequestsError } from './limits/rate-limiter.js';
export { idParam, validationPipe } from './shapes/validation.js';
