import http from 'node:http';
import type { Readable } from 'node:stream';

/** The two processes of a site talk over unix sockets: HTTP, one request for each command, JSON or bytes back. */
export interface SocketRequest {
  readonly socketPath: string;
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
  /** The longest silence on the socket, in milliseconds. */
  readonly idleMs?: number;
}

export interface SocketAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Ends with an error when the other process dies in the middle. */
  readonly body: Readable;
}

/** Says what answer is expected: `json` or `bytes`. */
export const ANSWER_HEADER = 'x-mainstay-answer';
/** The longest JSON answer that is taken from the far end, in bytes. */
export const ANSWER_BYTES_HEADER = 'x-mainstay-answer-bytes';
/** Marks an answer that the link gives itself because the far end could not be reached. */
export const UNREACHED_HEADER = 'x-mainstay-unreached';

/** Rejects with the system's error when the other process is not there. */
export function askSocket(request: SocketRequest): Promise<SocketAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = http.request(
      {
        socketPath: request.socketPath,
        method: request.method,
        path: request.path,
        agent: false,
        headers: {
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...request.headers,
        },
        ...(request.signal ? { signal: request.signal } : {}),
      },
      (answer) => {
        // A body that is cut emits `aborted` and then an error; nobody may have attached to it yet.
        answer.on('error', () => outgoing.destroy());
        resolve({ status: answer.statusCode ?? 500, headers: answer.headers, body: answer });
      },
    );
    outgoing.on('error', reject);
    if (request.idleMs !== undefined) {
      outgoing.setTimeout(request.idleMs, () => outgoing.destroy(new Error('no answer in time')));
    }
    outgoing.end(request.body);
  });
}

/** The longest JSON body between the processes and through the tunnel, in bytes. */
const LARGEST_ANSWER = 64 * 1024 * 1024;

/** Reads a JSON body. @throws when it is cut off, too long or no JSON. */
export async function readJson(body: Readable, longest = LARGEST_ANSWER): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > longest) throw new Error(`the body is longer than ${longest} bytes`);
    parts.push(part);
  }
  const text = Buffer.concat(parts).toString('utf8');
  return text === '' ? undefined : (JSON.parse(text) as unknown);
}
