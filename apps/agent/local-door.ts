import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http';
import { chmod, mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Readable } from 'node:stream';
import { DomainError, errorText, STATUS_OF_KIND } from '#libs/platform/errors';

/** Another process of this agent already answers there. */
export class DoorTakenError extends DomainError {
  constructor(socket: string) {
    super('conflict', 'agent.running', `Another mainstay-agent already runs with this directory (${socket} answers).`);
  }
}

/** The agent's other process does not answer. */
export class DoorClosedError extends DomainError {
  constructor(message: string, cause?: unknown) {
    super('unavailable', 'agent.part-down', message, { cause });
  }
}

export interface DoorRequest {
  readonly method: string;
  readonly url: URL;
  /** Aborted when the asking side has gone. */
  readonly signal: AbortSignal;
  json(): Promise<unknown>;
}
export type DoorAnswer = { readonly status?: number; readonly json: unknown } | { readonly bytes: Readable };

/**
 * A small HTTP server on a Unix socket that only this machine's user can open: how the agent's processes talk. Binding
 * it is also the lock that keeps a second one from running.
 *
 * @throws DoorTakenError
 */
export async function openDoor(
  socket: string,
  handle: (request: DoorRequest) => Promise<DoorAnswer>,
): Promise<{ close(): Promise<void> }> {
  await mkdir(path.dirname(socket), { recursive: true, mode: 0o711 });
  if (await answers(socket)) throw new DoorTakenError(socket);
  // Left by a killed process: nobody listens.
  await rm(socket, { force: true });
  const server = createServer((incoming, outgoing) => {
    const gone = new AbortController();
    outgoing.once('close', () => gone.abort());
    const url = new URL(incoming.url ?? '/', 'http://agent');
    const request = { method: incoming.method ?? 'GET', url, signal: gone.signal, json: () => readBody(incoming) };
    handle(request)
      .catch(failed)
      .then(async (answer) => {
        if ('bytes' in answer) {
          outgoing.writeHead(200, { 'content-type': 'application/octet-stream' });
          await pipeline(answer.bytes, outgoing);
          return;
        }
        outgoing.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
        outgoing.end(JSON.stringify(answer.json ?? null));
      })
      // A stream that breaks off breaks off at the other end too: there is nothing more to say.
      .catch(() => outgoing.destroy());
  });
  // Backups flow for hours, and a restore of a long line must not be cut by a time-out of ours.
  server.requestTimeout = 0;
  await listen(server, socket);
  await chmod(socket, 0o600);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function failed(error: unknown): DoorAnswer {
  if (error instanceof DomainError) {
    const { kind, code, message } = error;
    return { status: STATUS_OF_KIND[kind], json: { kind, code, message, detail: error.detail } };
  }
  const message = 'The agent failed; its log says more.';
  return { status: 500, json: { kind: 'internal', code: 'agent.internal', message, detail: errorText(error) } };
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function listen(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, () => resolve());
  });
}

async function readBody(stream: AsyncIterable<Buffer>): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

export interface KnockOptions {
  readonly method?: 'GET' | 'POST';
  readonly body?: unknown;
  /** Until the answer begins. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
export interface Knocked {
  readonly status: number;
  readonly contentType: string;
  readonly stream: IncomingMessage;
  json(): Promise<unknown>;
}

/** Asks another process of the agent. @throws DoorClosedError when it does not answer. */
export function knock(socket: string, url: string, options: KnockOptions = {}): Promise<Knocked> {
  return new Promise((resolve, reject) => {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    const { signal } = options;
    const request = httpRequest({
      socketPath: socket,
      path: url,
      method: options.method ?? 'GET',
      agent: false,
      headers:
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      ...(signal ? { signal } : {}),
    });
    const timer = setTimeout(() => request.destroy(new Error('no answer in time')), options.timeoutMs ?? 5_000);
    request.once('error', (error) => {
      clearTimeout(timer);
      reject(new DoorClosedError('The other part of the agent does not answer.', error));
    });
    request.once('response', (stream) => {
      clearTimeout(timer);
      const { statusCode = 500, headers } = stream;
      resolve({
        status: statusCode,
        contentType: headers['content-type'] ?? '',
        stream,
        json: () => readBody(stream),
      });
    });
    request.end(body);
  });
}
