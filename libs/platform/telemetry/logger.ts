import { AsyncLocalStorage } from 'node:async_hooks';
import pino, { type DestinationStream, type Logger as PinoLogger } from 'pino';
import { currentTraceIds } from './tracing.js';

/** Ids that every line of a request, job or run carries. Never secrets, never an agency's data. */
export interface LogContext {
  readonly requestId?: string;
  readonly tenantId?: string;
  readonly jobId?: string;
  readonly runId?: string;
  readonly workloadId?: string;
  readonly orderId?: string;
}

const context = new AsyncLocalStorage<LogContext>();

/** Runs `work` with these ids on each of its log lines, added to those already in force. */
export function withLogContext<T>(ids: LogContext, work: () => T): T {
  return context.run({ ...context.getStore(), ...ids }, work);
}

/** Adds ids that became known on the way, such as who calls, to the lines of the innermost {@link withLogContext}. */
export function addToLogContext(ids: LogContext): void {
  const store = context.getStore();
  if (store) Object.assign(store, ids);
}

/** The ids in force here: for rows that name the request that wrote them. */
export const currentLogContext = (): LogContext => context.getStore() ?? {};

/** Fields that must never reach a log, wherever they stand in a logged object. */
const SECRET_FIELDS = ['password', 'secret', 'token', 'apiKey', 'authorization', 'cookie', 'privateKey', 'passphrase'];

export interface LoggerOptions {
  /** The process's name, for example `site metro-1`. */
  readonly name: string;
  readonly level?: string;
  /** Standard output unless told. */
  readonly destination?: DestinationStream;
}

export type Logger = PinoLogger;

/**
 * Structured logs to standard output, one JSON object a line: the ids of {@link withLogContext}, and `traceId` and
 * `spanId` while a span is in force. Secrets are redacted by field name.
 */
export function createLogger(options: LoggerOptions): Logger {
  const settings = {
    name: options.name,
    level: options.level ?? 'info',
    mixin: () => ({ ...context.getStore(), ...currentTraceIds() }),
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '[secret]' },
    serializers: { err: describeError },
  };
  return options.destination ? pino(settings, options.destination) : pino(settings);
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const detail = 'detail' in error && typeof error.detail === 'string' ? { detail: error.detail } : {};
  const code = 'code' in error ? { code: error.code } : {};
  return { name: error.name, message: error.message, ...code, ...detail, stack: error.stack };
}
