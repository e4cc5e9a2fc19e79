import {
  type CallHandler,
  type ExecutionContext,
  Inject,
  Injectable,
  type NestInterceptor,
  SetMetadata,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import { sourceOf } from '#libs/platform/address';
import { callerKey } from '../access/principal.js';
import { HTTP_OPTIONS, type HttpOptions } from '../http-options.js';
import { type Quota, RateLimiter, TooManyRequestsError } from './rate-limiter.js';

const QUOTA = Symbol('mainstay quota');

/**
 * A quota of a route's own: counted by caller where one is signed in, else by source (see {@link sourceOf}). Not for
 * signing in, where only what is refused may count: see libs/identity.
 */
export const Limit = (name: string, calls: number, seconds: number): MethodDecorator =>
  SetMetadata(QUOTA, { name, calls, seconds } satisfies Quota);

/** Holds each caller to its quota and says where it stands (RateLimit header fields of the IETF draft). */
@Injectable()
export class RateLimitInterceptor implements NestInterceptor {
  constructor(
    private readonly reflector: Reflector,
    private readonly limiter: RateLimiter,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    const own = this.reflector.get<Quota | undefined>(QUOTA, context.getHandler());
    const general: Quota = { name: 'default', calls: this.options.callsPerMinute ?? 1_200, seconds: 60 };
    const quota = own ? { ...own, calls: Math.ceil(own.calls * (this.options.limitFactor ?? 1)) } : general;
    const state = this.limiter.take(quota, request.principal ? callerKey(request) : sourceOf(request.ip));
    void reply.header('RateLimit-Policy', `"${quota.name}";q=${quota.calls};w=${quota.seconds}`);
    void reply.header('RateLimit', `"${quota.name}";r=${state.remaining};t=${state.resetSeconds}`);
    if (state.exceeded) throw new TooManyRequestsError(state.resetSeconds);
    return next.handle();
  }
}
