import type { DynamicModule, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { Metrics } from '#libs/platform/telemetry';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { guardBorder, requestId } from './border.js';
import type { HttpOptions } from './http-options.js';
import { HttpModule } from './http.module.js';
import { observeRequests } from './http.telemetry.js';
import { sendProblem } from './problem/problem.filter.js';
import { toProblem } from './problem/problem.js';
import { serveApiPage } from './shapes/open-api.js';
import { validationPipe } from './shapes/validation.js';

class HttpRoot {}

/** Bodies of v1 are small: a megabyte is plenty. */
const BODY_LIMIT_BYTES = 1_048_576;

/**
 * Makes the REST application around `module`: validation, problem details, request ids, rate limits, idempotency
 * keys, the OpenAPI page, health and readiness. Not listening yet: `app.listen(port, host)` is the caller's, as is
 * `app.close()`, which lets requests in flight end.
 *
 * `module` must bring TelemetryModule, ClockModule and DatabaseModule.forControl.
 */
export async function createHttpApp(
  module: Type<unknown> | DynamicModule,
  options: HttpOptions,
): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    genReqId: requestId,
    // What Fastify refuses before any route, such as an address that cannot be decoded.
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      sendProblem(request, reply, toProblem(error)),
    bodyLimit: BODY_LIMIT_BYTES,
    trustProxy: options.trustedProxies ? [...options.trustedProxies] : false,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    requestTimeout: 30_000,
  });
  const root: DynamicModule = { module: HttpRoot, imports: [module, HttpModule.forProcess(options)] };
  const app = await NestFactory.create<NestFastifyApplication>(root, adapter, {
    bufferLogs: true,
    abortOnError: false,
  });
  const logger = app.get(AppLogger);
  app.useLogger(new NestLogger(logger.log));
  app.useGlobalPipes(validationPipe());
  observeRequests(app.getHttpAdapter().getInstance(), app.get(Metrics));
  guardBorder(app.getHttpAdapter().getInstance(), options, logger);
  serveApiPage(app, options);
  app.enableShutdownHooks();
  return app;
}
