import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, DiscoveryModule } from '@nestjs/core';
import { Clock } from '#libs/platform/clock';
import { AccessCheck, AccessInterceptor } from './access/access.check.js';
import { HealthController, Readiness } from './health.js';
import { HTTP_OPTIONS, type HttpOptions } from './http-options.js';
import { IdempotencyInterceptor } from './idempotency/idempotency.interceptor.js';
import { IdempotencyStore } from './idempotency/idempotency.store.js';
import { Doorkeeper } from './limits/doorkeeper.js';
import { RateLimitInterceptor } from './limits/rate-limit.interceptor.js';
import { RateLimiter } from './limits/rate-limiter.js';
import { ProblemFilter } from './problem/problem.filter.js';
import { AnswerInterceptor } from './shapes/answers.js';

/** The border of the REST API. The order of its interceptors is the order in which they see a request. */
@Global()
@Module({})
export class HttpModule {
  static forProcess(options: HttpOptions): DynamicModule {
    return {
      module: HttpModule,
      imports: [DiscoveryModule],
      controllers: [HealthController],
      providers: [
        { provide: HTTP_OPTIONS, useValue: options },
        { provide: RateLimiter, inject: [Clock], useFactory: (clock: Clock) => new RateLimiter(clock) },
        Doorkeeper,
        AccessCheck,
        Readiness,
        IdempotencyStore,
        { provide: APP_FILTER, useClass: ProblemFilter },
        { provide: APP_INTERCEPTOR, useClass: AccessInterceptor },
        { provide: APP_INTERCEPTOR, useClass: RateLimitInterceptor },
        { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor },
        { provide: APP_INTERCEPTOR, useClass: AnswerInterceptor },
      ],
      exports: [Doorkeeper, HTTP_OPTIONS, RateLimiter],
    };
  }
}
