import type { Readable } from 'node:stream';
import { z } from 'zod';
import { text } from '#contracts/sites';
import { DomainError, errorText } from '#libs/platform/errors';
import type { CallOptions, SiteCommand, StreamOptions } from '../agents/agent-commands.js';
import {
  ANSWER_BYTES_HEADER,
  ANSWER_HEADER,
  askSocket,
  readJson,
  type SocketAnswer,
  UNREACHED_HEADER,
} from './socket-request.js';

/** What turns faults of one kind of far end (agents, peers) into its errors. */
export interface FarEndErrors {
  unreachable(detail: string, cause?: unknown): DomainError;
  refused(code: string, message: string, detail: string): DomainError;
}

/** Where a command goes: a path of the link's socket and what it must know beside it. */
export interface FarEndAddress {
  readonly socketPath: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const refusal = z.object({ code: text(100), message: text(2_000) });

async function failure(answer: SocketAnswer, errors: FarEndErrors): Promise<DomainError> {
  const said = await readJson(answer.body).catch((error: unknown) => errorText(error));
  const parsed = refusal.safeParse(said);
  const detail = `status ${answer.status}`;
  if (answer.headers[UNREACHED_HEADER] !== undefined) {
    return errors.unreachable(parsed.success ? parsed.data.message : detail);
  }
  if (!parsed.success) return errors.unreachable(`${detail} without a reason`);
  return errors.refused(parsed.data.code, parsed.data.message, detail);
}

/** One command through the link: JSON there and back, checked at both ends. */
export async function callFarEnd<I, O>(
  address: FarEndAddress,
  command: SiteCommand<I, O>,
  input: I,
  options: CallOptions,
  errors: FarEndErrors,
): Promise<O> {
  const body = JSON.stringify(command.input.parse(input));
  const timeout = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  let value: unknown;
  try {
    const answer = await askSocket({
      ...address,
      headers: {
        ...address.headers,
        [ANSWER_HEADER]: 'json',
        ...(command.answerBytes === undefined ? {} : { [ANSWER_BYTES_HEADER]: String(command.answerBytes) }),
      },
      method: 'POST',
      body,
      signal,
    });
    if (answer.status >= 400) throw await failure(answer, errors);
    value = await readJson(answer.body);
  } catch (error) {
    if (error instanceof DomainError) throw error;
    options.signal?.throwIfAborted();
    const why = timeout.aborted ? `no answer in ${options.timeoutMs} ms` : errorText(error);
    throw errors.unreachable(`${command.path}: ${why}`, error);
  }
  const parsed = command.output.safeParse(value);
  if (parsed.success) return parsed.data;
  throw errors.refused('answer.malformed', 'The answer was not understood. Update both ends.', parsed.error.message);
}

/** Posts JSON through the link and answers the bytes that come back. */
export async function streamFromFarEnd(
  address: FarEndAddress,
  json: unknown,
  options: StreamOptions,
  errors: FarEndErrors,
): Promise<Readable> {
  let answer: SocketAnswer;
  try {
    answer = await askSocket({
      ...address,
      headers: { ...address.headers, [ANSWER_HEADER]: 'bytes' },
      method: 'POST',
      body: JSON.stringify(json),
      idleMs: options.idleMs ?? 30_000,
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    options.signal?.throwIfAborted();
    throw errors.unreachable(errorText(error), error);
  }
  if (answer.status >= 400) throw await failure(answer, errors);
  return answer.body;
}
