import { AsyncLocalStorage } from 'node:async_hooks';
import pino, { type Logger as PinoLogger } from 'pino';

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

/** The ids in force here: for rows that name the request that wrote them. */
export const currentLogContext = (): LogContext => context.getStore() ?? {};

/** Fields that must never reach a log, wherever they stand in a logged object. */
const SECRET_FIELDS = ['password', 'secret', 'token', 'apiKey', 'authorization', 'cookie', 'privateKey', 'passphrase'];

export interface LoggerOptions {
  /** The process's name, for example `site metro-1`. */
  readonly name: string;
  readonly level?: string;
}

export type Logger = PinoLogger;

/** Structured logs to standard output, one JSON object a line; secrets are redacted by field name. */
export function createLogger(options: LoggerOptions): Logger {
  return pino({
    name: options.name,
    level: options.level ?? 'info',
    mixin: () => ({ ...context.getStore() }),
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '[secret]' },
    serializers: { err: describeError },
  });
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const detail = 'detail' in error && typeof error.detail === 'string' ? { detail: error.detail } : {};
  const code = 'code' in error ? { code: error.code } : {};
  return { name: error.name, message: error.message, ...code, ...detail, stack: error.stack };
}
