import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import { pipeline } from 'node:stream/promises';
import { DomainError, errorText, STATUS_OF_KIND } from '#libs/platform/errors';
import { COMPLETE_TRAILER, readJson, type LinkRequest, type LinkResponse } from './exchange.js';
import type { LinkLog } from './timings.js';

/** Answers every request that comes in on the session. A DomainError becomes its code and text, another error a 500. */
export function answerRequests(
  session: ServerHttp2Session,
  handle: (request: LinkRequest) => Promise<LinkResponse>,
  log: LinkLog,
): void {
  session.on('stream', (stream, headers) => {
    // Without a listener, a stream's error would end the process; what it means is seen where it is read and written.
    stream.on('error', () => undefined);
    answer(stream, headers, handle, log).catch((error: unknown) => {
      log('warn', 'an answer over the link could not be sent', { path: headers[':path'], error: errorText(error) });
      if (!stream.destroyed) stream.destroy(error instanceof Error ? error : undefined);
    });
  });
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  handle: (request: LinkRequest) => Promise<LinkResponse>,
  log: LinkLog,
): Promise<void> {
  const gone = new AbortController();
  stream.once('close', () => gone.abort());
  const path = headers[':path'] ?? '/';
  let response: LinkResponse;
  try {
    response = await handle({ path, signal: gone.signal, body: stream, json: () => readJson(stream) });
  } catch (error) {
    response = failed(error);
    if (!(error instanceof DomainError))
      log('warn', 'a request over the link failed', { path, error: errorText(error) });
  }
  if (stream.destroyed || stream.closed) {
    if ('stream' in response) response.stream.destroy();
    return;
  }
  const status = response.status ?? 200;
  if ('json' in response) {
    stream.respond({ ':status': status, 'content-type': 'application/json' });
    stream.end(JSON.stringify(response.json ?? null));
    return;
  }
  stream.respond(
    { ':status': status, 'content-type': response.contentType ?? 'application/octet-stream' },
    { waitForTrailers: true },
  );
  stream.once('wantTrailers', () => stream.sendTrailers({ [COMPLETE_TRAILER]: '1' }));
  await pipeline(response.stream, stream);
}

function failed(error: unknown): LinkResponse {
  const known = error instanceof DomainError;
  const kind = known ? error.kind : 'internal';
  const code = known ? error.code : 'link.internal';
  const message = known ? error.message : 'The other end failed; its log says more.';
  return { status: STATUS_OF_KIND[kind], json: { kind, code, message } };
}
