export * from './access.js';
export { AccessUndeclaredError, NotSignedInError } from './access.check.js';
export { type Answer, Answers } from './answers.js';
export { SESSION_COOKIE } from './border.js';
export { Doorkeeper } from './doorkeeper.js';
export * from './http-app.js';
export * from './http-options.js';
export {
  IdempotencyKeyRequired,
  IdempotencyKeyReusedError,
  RequestInFlightError,
  SeveralTransactions,
} from './idempotency.js';
export { describeApi } from './open-api.js';
export { instant } from './instant.js';
export * from './page.js';
export * from './principal.js';
export { problem, type Problem, RequestInvalidError, TemporarilyUnavailableError, toProblem } from './problem.js';
export { Limit } from './rate-limit.interceptor.js';
export { type Quota, RateLimiter, TooManyRequestsError } from './rate-limiter.js';
export { idParam, validationPipe } from './validation.js';
