import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

const problem = z.object({
  title: z.string(),
  status: z.number(),
  code: z.string().optional(),
  detail: z.string().optional(),
});

/** An answer that is no success, with the problem that the API described. */
export class RestError extends Error {
  constructor(
    readonly status: number,
    readonly code: string | undefined,
    message: string,
    readonly body: unknown,
  ) {
    super(message);
    this.name = 'RestError';
  }
}

export interface CallOptions {
  /** Accepts another bearer than the client's own. */
  readonly token?: string;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

/** The longest that a limit of the API may ask for. */
const RETRY_AFTER_MAX_SECONDS = 600;

/**
 * A client of Mainstay's REST API as an integrator would write it: bearer token, JSON, problem details. Told to come again
 * later (429), it does so once, with the same idempotency key.
 */
export class RestClient {
  constructor(
    readonly baseUrl: string,
    private readonly token?: string,
  ) {}

  with(token: string): RestClient {
    return new RestClient(this.baseUrl, token);
  }

  /** The token that this client calls with. */
  get bearer(): string {
    return this.token ?? '';
  }

  get<T = Record<string, unknown>>(path: string, options?: CallOptions): Promise<T> {
    return this.call<T>('GET', path, undefined, options);
  }
  post<T = Record<string, unknown>>(path: string, body: unknown = {}, options?: CallOptions): Promise<T> {
    return this.call<T>('POST', path, body, options);
  }
  patch<T = Record<string, unknown>>(path: string, body: unknown, options?: CallOptions): Promise<T> {
    return this.call<T>('PATCH', path, body, options);
  }
  delete(path: string, options?: CallOptions): Promise<unknown> {
    return this.call('DELETE', path, undefined, options);
  }

  private async call<T>(method: string, path: string, body: unknown, options: CallOptions = {}): Promise<T> {
    const token = options.token ?? this.token;
    const idempotencyKey = options.idempotencyKey ?? randomUUID();
    const send = () =>
      fetch(`${this.baseUrl}${path}`, {
        method,
        headers: {
          accept: 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(method === 'POST' ? { 'idempotency-key': idempotencyKey } : {}),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(options.signal ? { signal: options.signal } : {}),
      });
    let response = await send();
    const seconds = Number(response.headers.get('retry-after') ?? NaN);
    if (response.status === 429 && seconds <= RETRY_AFTER_MAX_SECONDS) {
      await delay(seconds * 1_000, undefined, options.signal ? { signal: options.signal } : {});
      await response.body?.cancel();
      response = await send();
    }
    const text = await response.text();
    const value: unknown = text === '' ? undefined : parse(text);
    if (response.ok) return value as T;
    const described = problem.safeParse(value);
    const message = described.success
      ? `${method} ${path}: ${described.data.title}${described.data.detail ? `: ${described.data.detail}` : ''}`
      : `${method} ${path} answered ${response.status}`;
    throw new RestError(response.status, described.success ? described.data.code : undefined, message, value);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not everything that answers is an API: it is shown as it came.
    return text;
  }
}
