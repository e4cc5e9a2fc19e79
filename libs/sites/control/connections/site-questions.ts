import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { type QuestionContract, type SiteQuestion, storableText } from '#contracts/sites';
import { UnitOfWork } from '#libs/platform/database';
import { type ErrorKind, STATUS_OF_KIND } from '#libs/platform/errors';
import { siteAddress } from '../orders/order-delivery.js';
import { type SiteAddress, SiteEndpoints } from './site-endpoint.js';
import { SiteRefusedError, SiteUnreachableError, TooManyQuestionsError } from '../sites.errors.js';

export interface Asked<P, A> {
  readonly siteId: string;
  readonly tenantId: string;
  readonly contract: QuestionContract<P, A>;
  readonly payload: P;
  readonly signal?: AbortSignal;
}

export interface Bytes {
  readonly stream: Readable;
  /** Null where the site does not know it beforehand. */
  readonly length: number | null;
}

/** A look into a folder asks restic, and for a key that only the agency has, its agent. */
const TIMEOUT_MS = 25_000;
/** Of one agency, in this process: each may have a program run at the site. */
const AT_ONCE = 8;
const REFUSAL_BYTES_MAX = 65_536;

/** The kinds of faults that a site may tell as its answer; everything else is a fault of its own. */
const KINDS: readonly ErrorKind[] = ['invalid', 'not-found', 'conflict', 'unprocessable', 'too-many', 'unavailable'];
const PATH = '/v1/questions';

/** Asks sites what they answer at once: looks, in an agency's name, over the mutual TLS of the orders. */
@Injectable()
export class SiteQuestions {
  private readonly underWay = new Map<string, number>();

  constructor(
    private readonly work: UnitOfWork,
    private readonly endpoints: SiteEndpoints,
  ) {}

  /** @throws SiteUnreachableError, TooManyQuestionsError; SiteRefusedError with the site's own code and words */
  async ask<P, A>(asked: Asked<P, A>): Promise<A> {
    const { siteId, contract } = asked;
    if (contract.answer === null) throw new TypeError(`${contract.kind} is answered with bytes`);
    const leave = this.enter(asked.tenantId);
    const { status, body } = await this.address(siteId)
      .then((address) => this.endpoints.call(address, request(asked)))
      .finally(leave);
    if (status !== 200) throw refusal(siteId, status, body);
    const answer = contract.answer.safeParse(body);
    if (!answer.success) throw new SiteUnreachableError(siteId, `not an answer to ${contract.kind}`);
    return answer.data;
  }

  /** The same for bytes: whoever has the stream reads it to its end or destroys it. */
  async askBytes<P>(asked: Asked<P, never>): Promise<Bytes> {
    const { siteId } = asked;
    const leave = this.enter(asked.tenantId);
    try {
      const { status, body } = await this.endpoints.stream(await this.address(siteId), request(asked));
      if (status !== 200) throw refusal(siteId, status, await refusalBody(body));
      // Its place is taken until the last byte, or until whoever reads it gives up.
      body.once('close', leave);
      return bytesOf(body);
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Takes a place for a question; the answer gives it back. @throws TooManyQuestionsError */
  private enter(tenantId: string): () => void {
    const now = this.underWay.get(tenantId) ?? 0;
    if (now >= AT_ONCE) throw new TooManyQuestionsError(AT_ONCE);
    this.underWay.set(tenantId, now + 1);
    return () => {
      const left = (this.underWay.get(tenantId) ?? 1) - 1;
      if (left > 0) this.underWay.set(tenantId, left);
      else this.underWay.delete(tenantId);
    };
  }

  private async address(siteId: string): Promise<SiteAddress> {
    const address = await this.work.provider((tx) => siteAddress(tx, siteId));
    if (!address) throw new SiteUnreachableError(siteId, 'no such site');
    return address;
  }
}

function bytesOf(stream: IncomingMessage): Bytes {
  const length = Number(stream.headers['content-length'] ?? Number.NaN);
  return { stream, length: Number.isSafeInteger(length) ? length : null };
}

function request<P, A>({ tenantId, contract, payload, signal }: Asked<P, A>) {
  const body: SiteQuestion = {
    kind: contract.kind,
    tenantId,
    payload: contract.payload.parse(payload) as SiteQuestion['payload'],
  };
  return { method: 'POST' as const, path: PATH, body, timeoutMs: TIMEOUT_MS, ...(signal ? { signal } : {}) };
}

async function refusalBody(stream: Readable): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    parts.push(part as Buffer);
    size += (part as Buffer).length;
    if (size > REFUSAL_BYTES_MAX) break;
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch {
    // Not the words of a site: the status alone says what it was.
    return undefined;
  }
}

function refusal(siteId: string, status: number, body: unknown): SiteRefusedError | SiteUnreachableError {
  const kind = KINDS.find((one) => STATUS_OF_KIND[one] === status);
  const { code, message } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (kind === undefined || typeof code !== 'string' || typeof message !== 'string') {
    return new SiteUnreachableError(siteId, `answered ${status}`);
  }
  return new SiteRefusedError(kind, storableText(code, 100), storableText(message, 2_000));
}
