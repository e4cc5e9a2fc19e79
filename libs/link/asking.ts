import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { Transform } from 'node:stream';
import { DomainError, ERROR_KINDS, type ErrorKind } from '#libs/platform/errors';
import { failure } from './contract.js';
import { LinkLostError, LinkTimeoutError, RemoteError } from './errors.js';
import {
  COMPLETE_TRAILER,
  type LinkStream,
  MAXIMUM_JSON_BYTES,
  MAXIMUM_REFUSAL_BYTES,
  readBytes,
  readJson,
} from './exchange.js';

const DEFAULT_TIMEOUT_MS = 10_000;

export interface AskOptions {
  /** Until the whole answer is there, or for a stream its head. Default: 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** The longest JSON answer, in bytes. Default: 2 MiB. */
  readonly answerBytes?: number;
}

/**
 * One request, JSON both ways.
 *
 * @throws RemoteError with the other end's own code and text; LinkTimeoutError, LinkLostError, MessageTooLargeError; the
 * signal's reason.
 */
export async function ask(
  session: ClientHttp2Session,
  path: string,
  json: unknown,
  options: AskOptions = {},
): Promise<unknown> {
  return asking(session, path, json, options, (stream) => readJson(stream, options.answerBytes));
}

/** The same for one who hands the answer on: its JSON as it came, unread. Empty when there is none. */
export async function askUnread(
  session: ClientHttp2Session,
  path: string,
  json: unknown,
  options: AskOptions = {},
): Promise<Buffer> {
  return asking(session, path, json, options, (stream) => readBytes(stream, options.answerBytes ?? MAXIMUM_JSON_BYTES));
}

/** One request, JSON there and a stream of bytes back. Errors as {@link ask}; the body errors unless it came whole. */
export async function askStream(
  session: ClientHttp2Session,
  path: string,
  json: unknown,
  options: AskOptions = {},
): Promise<LinkStream> {
  return asking(session, path, json, options, async (stream, headers) => ({
    status: statusOf(headers),
    contentType: headers['content-type'],
    body: wholeOrError(stream, options.signal),
  }));
}

/** @param use reads an answer that is no refusal. */
async function asking<T>(
  session: ClientHttp2Session,
  path: string,
  json: unknown,
  options: AskOptions,
  use: (stream: ClientHttp2Stream, headers: IncomingHttpHeaders) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted();
  if (session.destroyed || session.closed) throw new LinkLostError('it is closed');
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/json' });
  const timer = setTimeout(() => stream.destroy(new LinkTimeoutError(path, timeoutMs)), timeoutMs);
  const giveUp = (): void => {
    stream.destroy(options.signal?.reason instanceof Error ? options.signal.reason : new LinkLostError('given up'));
  };
  options.signal?.addEventListener('abort', giveUp, { once: true });
  try {
    const awaited = head(stream);
    stream.end(JSON.stringify(json ?? null));
    const headers = await awaited;
    await refusalOf(stream, headers);
    return await use(stream, headers);
  } catch (error) {
    stream.destroy();
    options.signal?.throwIfAborted();
    throw error instanceof DomainError ? error : new LinkLostError('the request broke off', error);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', giveUp);
  }
}

function head(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    stream.once('response', resolve);
    stream.on('error', reject);
    stream.once('close', () => reject(new LinkLostError('the request broke off')));
  });
}

const statusOf = (headers: IncomingHttpHeaders): number => Number((headers as Record<string, unknown>)[':status']);

/** @throws RemoteError when the answer is a refusal */
async function refusalOf(stream: ClientHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
  const status = statusOf(headers);
  if (status >= 400) throw remoteError(await readJson(stream, MAXIMUM_REFUSAL_BYTES), status);
}

function remoteError(body: unknown, status: number): RemoteError {
  const said = failure.safeParse(body);
  if (!said.success) return new RemoteError('internal', 'link.remote', `The other end answered ${status}.`);
  const kind = ERROR_KINDS.find((known): known is ErrorKind => known === said.data.kind) ?? 'internal';
  return new RemoteError(kind, said.data.code, said.data.message);
}

/** HTTP/2 in Node ends a stream that was cut off like one that is complete; the trailer tells them apart. */
function wholeOrError(stream: ClientHttp2Stream, signal: AbortSignal | undefined): Transform {
  let complete = false;
  stream.once('trailers', (trailers) => (complete = trailers[COMPLETE_TRAILER] === '1'));
  const body = new Transform({
    transform: (chunk: Buffer, _encoding, done) => done(null, chunk),
    flush: (done) => {
      const judge = (): void => done(complete ? null : new LinkLostError('the answer was cut off'));
      if (complete || stream.closed) judge();
      else stream.once('close', judge);
    },
  });
  const stop = (): void => void body.destroy(new LinkLostError('given up'));
  signal?.addEventListener('abort', stop, { once: true });
  stream.once('error', (error) => body.destroy(new LinkLostError('the answer was cut off', error)));
  stream.once('close', () => {
    if (!stream.readableEnded) body.destroy(new LinkLostError('the answer was cut off'));
  });
  body.once('close', () => {
    signal?.removeEventListener('abort', stop);
    stream.destroy();
  });
  stream.pipe(body);
  return body;
}
