import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import { text } from 'node:stream/consumers';
import type { LoadRepository } from './plan.js';

const VERSION_2 = 'application/vnd.x.restic.rest.v2';
const TAIL_BYTES = 32;

/** Objects that differ in their last bytes alone: to name one costs a hash of 32 bytes, not of 16 MiB. */
export class Packs {
  private readonly body: Buffer;
  private readonly hash;

  constructor(readonly bytes: number) {
    this.body = randomBytes(bytes - TAIL_BYTES);
    this.hash = createHash('sha256').update(this.body);
  }

  next(): LoadObject {
    const tail = randomBytes(TAIL_BYTES);
    return { id: this.hash.copy().update(tail).digest('hex'), parts: [this.body, tail] };
  }
}

export interface LoadObject {
  readonly id: string;
  readonly parts: readonly Buffer[];
}

export function smallObject(bytes: number): LoadObject {
  const body = randomBytes(bytes);
  return { id: createHash('sha256').update(body).digest('hex'), parts: [body] };
}

/** One client, with one connection that it keeps: what restic asks of a server, without restic's own work. */
export class LoadClient {
  requests = 0;
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  async make({ port, path, authorization }: LoadRepository): Promise<void> {
    const at = { port, path, authorization };
    await this.ask(at, 'POST', '?create=true', []);
    await this.ask(at, 'POST', 'config', [randomBytes(155)]);
  }

  config(at: LoadRepository): Promise<number> {
    return this.ask(at, 'GET', 'config');
  }

  list(at: LoadRepository, type: string): Promise<number> {
    return this.ask(at, 'GET', `${type}/`);
  }

  store(at: LoadRepository, type: string, { id, parts }: LoadObject): Promise<number> {
    return this.ask(at, 'POST', `${type}/${id}`, parts);
  }

  async read(at: LoadRepository, type: string, { id, parts }: LoadObject): Promise<void> {
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    const got = await this.ask(at, 'GET', `${type}/${id}`, undefined, { range: `bytes=0-${bytes - 1}` });
    if (got !== bytes) throw new Error(`${got} of ${bytes} bytes came back`);
  }

  remove(at: LoadRepository, type: string, { id }: LoadObject): Promise<number> {
    return this.ask(at, 'DELETE', `${type}/${id}`);
  }

  close(): void {
    this.agent.destroy();
  }

  /** @returns the bytes of the answer. @throws when it is no success */
  private ask(
    { port, path, authorization }: LoadRepository,
    method: string,
    what: string,
    parts?: readonly Buffer[],
    headers: http.OutgoingHttpHeaders = {},
  ): Promise<number> {
    this.requests += 1;
    return new Promise((resolve, reject) => {
      const length = parts?.reduce((sum, part) => sum + part.length, 0);
      const request = http.request({
        host: '127.0.0.1',
        port,
        method,
        path: `${path}${what}`,
        agent: this.agent,
        headers: {
          accept: VERSION_2,
          ...(authorization !== null && { authorization }),
          ...(length !== undefined && { 'content-length': length }),
          ...headers,
        },
      });
      const fail = (error: Error): void => reject(new Error(`${method} ${what}: ${error.message}`));
      request.once('error', fail);
      request.once('response', (response) => {
        response.once('error', fail);
        const status = response.statusCode ?? 0;
        if (status >= 300) {
          text(response).then((said) => fail(new Error(`${status} ${said.trim().slice(0, 200)}`)), fail);
          return;
        }
        let bytes = 0;
        response.on('data', (chunk: Buffer) => (bytes += chunk.length));
        response.once('end', () => resolve(bytes));
      });
      for (const part of parts ?? []) request.write(part);
      request.end();
    });
  }
}
