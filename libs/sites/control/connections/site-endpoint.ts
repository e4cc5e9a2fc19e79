import type { IncomingMessage } from 'node:http';
import { Agent, request, type RequestOptions } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { errorCode, errorText } from '#libs/platform/errors';
import { currentTraceparent } from '#libs/platform/telemetry';
import { SiteUnreachableError } from '../sites.errors.js';

/** Where a site takes orders, and by which certificate it is known. */
export interface SiteAddress {
  readonly siteId: string;
  readonly host: string;
  readonly port: number;
  /** SHA-256 of the certificate, 64 hexadecimal digits. */
  readonly certificateFingerprint: string;
}

/** The control plane's own certificate towards the sites, PEM. */
export interface ControlTls {
  readonly certificate: string;
  readonly key: string;
  readonly authority: string;
}
export const CONTROL_TLS = Symbol('control plane certificate');

export interface SiteRequest {
  readonly method: 'GET' | 'POST';
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface SiteAnswer {
  readonly status: number;
  /** Undefined when the answer was no JSON. */
  readonly body: unknown;
}

/** An answer whose bytes are still to be read, or given up (`body.destroy()`). */
export interface SiteByteAnswer {
  readonly status: number;
  readonly body: IncomingMessage;
}

const MAX_ANSWER_BYTES = 32 * 1024 * 1024;

/**
 * Speaks with the sites' order endpoints: HTTPS, both ends with certificates of the provider's authority, and the
 * site's pinned to what staff registered. Connections are kept alive, so that an order pays no handshake.
 */
@Injectable()
export class SiteEndpoints implements OnApplicationShutdown {
  private readonly agents = new Map<string, Agent>();

  constructor(@Inject(CONTROL_TLS) private readonly tls: ControlTls) {}

  /** @throws SiteUnreachableError when no answer came in time; an answer of any status is returned. */
  call(address: SiteAddress, wanted: SiteRequest): Promise<SiteAnswer> {
    return this.reached(address, wanted, async () => {
      const timeout = AbortSignal.timeout(wanted.timeoutMs);
      return readJson(await this.send(address, wanted, timeout), timeout);
    });
  }

  /**
   * The same with the bytes of the answer as they come: `timeoutMs` is for its head, `signal` for all of it.
   *
   * @throws SiteUnreachableError
   */
  stream(address: SiteAddress, wanted: SiteRequest): Promise<SiteByteAnswer> {
    return this.reached(address, wanted, async () => {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), wanted.timeoutMs);
      try {
        const body = await this.send(address, wanted, late.signal);
        return { status: body.statusCode ?? 0, body };
      } finally {
        clearTimeout(timer);
      }
    });
  }

  private async reached<T>(address: SiteAddress, wanted: SiteRequest, send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      // The site closed an idle connection just as it was used again: everything sent here is safe to repeat.
      if (error instanceof StaleConnectionError) {
        return await send().catch((second: unknown) => {
          throw new SiteUnreachableError(address.siteId, errorText(second), second);
        });
      }
      wanted.signal?.throwIfAborted();
      throw new SiteUnreachableError(address.siteId, errorText(error), error);
    }
  }

  private send(address: SiteAddress, wanted: SiteRequest, timeout: AbortSignal): Promise<IncomingMessage> {
    const body = wanted.body === undefined ? undefined : JSON.stringify(wanted.body);
    const traceparent = currentTraceparent();
    const options: RequestOptions = {
      agent: this.agentOf(address),
      host: address.host,
      port: address.port,
      method: wanted.method,
      path: wanted.path,
      headers: {
        accept: 'application/json',
        ...(traceparent === null ? {} : { traceparent }),
        ...(body === undefined
          ? {}
          : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
      },
    };
    const signal = wanted.signal ? AbortSignal.any([wanted.signal, timeout]) : timeout;
    return new Promise((resolve, reject) => {
      const sent = request({ ...options, signal }, resolve);
      sent.setNoDelay(true);
      sent.on('error', (error) => {
        const stale = sent.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(errorCode(error) ?? '');
        reject(stale ? new StaleConnectionError() : timeout.aborted ? new Error('no answer in time') : error);
      });
      sent.end(body);
    });
  }

  private agentOf(address: SiteAddress): Agent {
    const key = `${address.siteId} ${address.host}:${address.port} ${address.certificateFingerprint}`;
    let agent = this.agents.get(key);
    if (!agent) {
      agent = new Agent({
        keepAlive: true,
        keepAliveMsecs: 5_000,
        maxFreeSockets: 4,
        ca: this.tls.authority,
        cert: this.tls.certificate,
        key: this.tls.key,
        minVersion: 'TLSv1.3',
        checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
          fingerprintOf(certificate) === address.certificateFingerprint
            ? undefined
            : new Error('the site shows another certificate than the registered one'),
      });
      this.agents.set(key, agent);
    }
    return agent;
  }

  onApplicationShutdown(): void {
    for (const agent of this.agents.values()) agent.destroy();
    this.agents.clear();
  }
}

function readJson(answer: IncomingMessage, timeout: AbortSignal): Promise<SiteAnswer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    answer.on('data', (part: Buffer) => {
      size += part.length;
      if (size > MAX_ANSWER_BYTES) answer.destroy(new Error('the answer is too large'));
      else parts.push(part);
    });
    answer.on('error', (error) => reject(timeout.aborted ? new Error('no answer in time') : error));
    answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body: parseJson(Buffer.concat(parts)) }));
  });
}

class StaleConnectionError extends Error {}

const fingerprintOf = (certificate: PeerCertificate): string =>
  certificate.fingerprint256.replaceAll(':', '').toLowerCase();

function parseJson(bytes: Buffer): unknown {
  try {
    return bytes.length === 0 ? undefined : JSON.parse(bytes.toString('utf8'));
  } catch {
    // No JSON is no answer of a site: the status says whether it refused, and the command's schema refuses the rest.
    return undefined;
  }
}
