import { type CallHandler, type ExecutionContext, Inject, Injectable, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { withCommitHook } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { answerSchema } from '../shapes/answers.js';
import { HTTP_OPTIONS, type HttpOptions } from '../http-options.js';
import {
  checkKey,
  IdempotencyKeyMissingError,
  IdempotencySeal,
  KEY_REQUIRED,
  SEVERAL_TRANSACTIONS,
  type StoredAnswer,
} from './idempotency.js';
import { IdempotencyStore, type KeyedRequest, RENEW_CLAIM_MS } from './idempotency.store.js';
import { callerKey } from '../access/principal.js';

/** Header fields that belong to an answer and are sent again with it. */
const KEPT_HEADERS = ['location', 'set-cookie'] as const;

/**
 * Carries a POST with an `Idempotency-Key` out once. The key is claimed first; the answer is stored in the transaction
 * of the change (by the unit of work's commit hook), so that a kill leaves either both or neither. A request that
 * fails stores nothing: nothing was changed, and the same key may try again.
 */
@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  constructor(
    private readonly reflector: Reflector,
    private readonly store: IdempotencyStore,
    private readonly logger: AppLogger,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    if (request.method !== 'POST') return next.handle();
    const header = request.headers['idempotency-key'];
    if (header === undefined) {
      if (this.reflector.get<boolean | undefined>(KEY_REQUIRED, context.getHandler()))
        throw new IdempotencyKeyMissingError();
      return next.handle();
    }
    return from(this.once(context, request, checkKey(String(header)), next));
  }

  private async once(
    context: ExecutionContext,
    request: FastifyRequest,
    key: string,
    next: CallHandler,
  ): Promise<unknown> {
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    const caller = callerKey(request);
    const seal = new IdempotencySeal(this.options.secret, caller, key);
    const requestHash = seal.requestHash(request.method, request.url, request.body);
    const keyed: KeyedRequest = { caller, principal: request.principal, seal, requestHash };
    const claim = await this.store.claim(keyed);
    if ('answer' in claim) return this.replay(reply, claim.answer);
    let stored: string | undefined;
    const atCommit = async (tx: Parameters<IdempotencyStore['finish']>[0], value: unknown): Promise<void> => {
      const answer = this.asAnswered(context, reply, value);
      if (!answer || !this.store.reaches(tx, keyed.principal)) return;
      await this.store.finish(tx, keyed, claim.id, answer);
      stored = JSON.stringify(answer);
    };
    const work = (): Promise<unknown> => lastValueFrom(next.handle(), { defaultValue: undefined });
    const several = this.reflector.get<boolean | undefined>(SEVERAL_TRANSACTIONS, context.getHandler());
    let value: unknown;
    const renewal = setInterval(() => this.renew(keyed, claim.id), RENEW_CLAIM_MS);
    try {
      value = await (several ? work() : withCommitHook(atCommit, work));
    } catch (error) {
      await this.store.release(keyed, claim.id).catch((failure: unknown) => {
        this.logger.log.warn({ err: failure }, 'an idempotency key could not be released; it is free again in seconds');
      });
      throw error;
    } finally {
      clearInterval(renewal);
    }
    const answer = this.toAnswer(reply, value);
    if (JSON.stringify(answer) !== stored) await this.store.finishAfterwards(keyed, claim.id, answer);
    return value;
  }

  private renew(keyed: KeyedRequest, claimId: string): void {
    this.store.renew(keyed, claimId).catch((failure: unknown) => {
      this.logger.log.warn({ err: failure }, 'an idempotency key could not be kept; another request may take it');
    });
  }

  /** The answer that the transaction's value makes, or undefined when the handler still makes something else of it. */
  private asAnswered(context: ExecutionContext, reply: FastifyReply, value: unknown): StoredAnswer | undefined {
    const schema = answerSchema(this.reflector, context.getHandler() as () => unknown);
    if (!schema) return this.toAnswer(reply, undefined);
    const parsed = schema.safeParse(value);
    return parsed.success ? this.toAnswer(reply, parsed.data) : undefined;
  }

  private toAnswer(reply: FastifyReply, value: unknown): StoredAnswer {
    const headers: Record<string, string | string[]> = {};
    for (const name of KEPT_HEADERS) {
      const kept = reply.getHeader(name);
      if (kept !== undefined) headers[name] = Array.isArray(kept) ? kept.map(String) : String(kept);
    }
    return { status: reply.statusCode, headers, body: value === undefined ? null : JSON.stringify(value) };
  }

  private replay(reply: FastifyReply, answer: StoredAnswer): unknown {
    void reply.status(answer.status).header('Idempotency-Replayed', 'true');
    for (const [name, value] of Object.entries(answer.headers)) void reply.header(name, value);
    return answer.body === null ? undefined : JSON.parse(answer.body);
  }
}
