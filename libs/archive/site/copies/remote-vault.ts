import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { text } from 'node:stream/consumers';
import type { CopyAccess } from '#contracts/archive';
import { DomainError } from '#libs/platform/errors';
import { objectLabel, type ObjectName, type ObjectType } from '../vault/object-names.js';

const VERSION_2 = 'application/vnd.x.restic.rest.v2';
const IDLE_MS = 60_000;

/** The other site's vault did not do what it was asked. */
export class RemoteVaultError extends DomainError {
  constructor(
    readonly status: number,
    what: string,
    said: string,
  ) {
    super('unavailable', 'archive.copy', `The other site's vault answered ${status} to ${what}. It is tried again.`, {
      detail: said.slice(0, 500),
    });
  }
}

/** A repository in another site's vault, spoken to as restic does: the vault there trusts nothing but its own rules. */
export class RemoteVault {
  private readonly agent: http.Agent;
  private readonly client: typeof http | typeof https;

  constructor(private readonly access: CopyAccess) {
    const secure = access.url.startsWith('https:');
    this.client = secure ? https : http;
    const options = { keepAlive: true, maxSockets: 16 };
    this.agent = secure
      ? new https.Agent({ ...options, ...(access.authority === null ? {} : { ca: access.authority }) })
      : new http.Agent(options);
  }

  close(): void {
    this.agent.destroy();
  }

  /** Safe to repeat. */
  async create(signal: AbortSignal): Promise<void> {
    (await this.ask('POST', '?create=true', signal)).resume();
  }

  /** Sizes by id. */
  async list(type: ObjectType, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
    const answer = await this.ask('GET', `${type}/`, signal, { accept: VERSION_2 });
    const found = new Map<string, number>();
    let rest = '';
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      rest += chunk.toString('latin1');
      const whole = rest.lastIndexOf('}') + 1;
      for (const [, id = '', bytes] of rest.slice(0, whole).matchAll(/"name":"([0-9a-f]{64})","size":(\d+)/g)) {
        found.set(id, Number(bytes));
      }
      rest = rest.slice(whole);
    }
    return found;
  }

  async has(name: ObjectName, signal: AbortSignal): Promise<boolean> {
    try {
      (await this.ask('HEAD', pathOf(name), signal)).resume();
      return true;
    } catch (error) {
      if (error instanceof RemoteVaultError && error.status === 404) return false;
      throw error;
    }
  }

  /** @throws RemoteVaultError; a stream that breaks off ends with an error */
  read(name: ObjectName, signal: AbortSignal): Promise<Readable> {
    return this.ask('GET', pathOf(name), signal);
  }

  /** Resolves once the other site has it on its disk. The other site hashes it. */
  async write(name: ObjectName, bytes: number, body: Readable, signal: AbortSignal): Promise<void> {
    const request = this.request('POST', pathOf(name), signal, { 'content-length': bytes });
    const answered = once(request, 'response') as Promise<[IncomingMessage]>;
    // What the other site says counts; a body that it did not want breaks off.
    const sent = pipeline(body, request).catch((error: unknown) => error);
    const response = await Promise.race([
      answered,
      sent.then((error) => (error ? Promise.reject(error as Error) : answered)),
    ]);
    await accept(response[0], `POST ${objectLabel(name)}`);
    response[0].resume();
  }

  /** Safe to repeat. @returns false when the other site keeps it: by its own minimum age, or under a hold */
  async remove(name: ObjectName, signal: AbortSignal): Promise<boolean> {
    try {
      (await this.ask('DELETE', pathOf(name), signal)).resume();
      return true;
    } catch (error) {
      if (error instanceof RemoteVaultError && error.status === 403) return false;
      throw error;
    }
  }

  private async ask(
    method: string,
    path: string,
    signal: AbortSignal,
    headers: http.OutgoingHttpHeaders = {},
  ): Promise<IncomingMessage> {
    const request = this.request(method, path, signal, headers);
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    await accept(response, `${method} ${path}`);
    return response;
  }

  private request(method: string, path: string, signal: AbortSignal, headers: http.OutgoingHttpHeaders) {
    const { url, user, secret } = this.access;
    const authorization = `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
    return this.client
      .request(new URL(path, url), {
        method,
        agent: this.agent,
        signal,
        timeout: IDLE_MS,
        headers: { authorization, ...headers },
      })
      .on('timeout', function (this: http.ClientRequest) {
        this.destroy(new Error('the other site is silent'));
      });
  }
}

const pathOf = (name: ObjectName): string => (name.type === 'config' ? 'config' : `${name.type}/${name.id}`);

async function accept(response: IncomingMessage, what: string): Promise<void> {
  const status = response.statusCode ?? 0;
  if (status >= 200 && status < 300) return;
  throw new RemoteVaultError(status, what, await text(response));
}
