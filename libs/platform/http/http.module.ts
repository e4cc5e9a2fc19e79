import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, DiscoveryModule } from '@nestjs/core';
import { Clock } from '#libs/platform/clock';
import { AccessCheck, AccessInterceptor } from './access.check.js';
import { AnswerInterceptor } from './answers.js';
import { Doorkeeper } from './doorkeeper.js';
import { HealthController, Readiness } from './health.js';
import { HTTP_OPTIONS, type HttpOptions } from './http-options.js';
import { IdempotencyInterceptor } from './idempotency.interceptor.js';
import { IdempotencyStore } from './idempotency.store.js';
import { ProblemFilter } from './problem.filter.js';
import { RateLimitInterceptor } from './rate-limit.interceptor.js';
import { RateLimiter } from './rate-limiter.js';

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
