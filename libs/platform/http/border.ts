import type { FastifyInstance, FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { DomainError } from '#libs/platform/errors';
import type { AppLogger } from '#libs/platform/nest';
import type { HttpOptions } from './http-options.js';
import { routeOf } from './http.telemetry.js';
import { sendProblem } from './problem/problem.filter.js';
import { toProblem } from './problem/problem.js';

/** The name of the cookie that carries a session to browsers. */
export const SESSION_COOKIE = 'mainstay_session';

export class ForeignOriginError extends DomainError {
  constructor() {
    super(
      'forbidden',
      'origin.foreign',
      'A browser sent this request from another site than Mainstay. It was refused.',
    );
  }
}

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** A request's id: the caller's own when it is fit for a log line, else a new one. */
export function requestId(request: Pick<IncomingMessage, 'headers'>): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.-]{8,64}$/.test(given) ? given : randomUUID();
}

/**
 * Refuses what another site's page makes a browser send. A cookie goes along by itself, so a request with one must
 * name our origin; a request with a bearer token need not.
 */
function checkOrigin(request: FastifyRequest, ours: string): void {
  if (SAFE_METHODS.has(request.method)) return;
  const { origin, cookie } = request.headers;
  if (origin !== undefined && origin !== ours) throw new ForeignOriginError();
  const carriesSession = cookie !== undefined && cookie.includes(`${SESSION_COOKIE}=`);
  if (carriesSession && origin === undefined) throw new ForeignOriginError();
}

/** What happens to each request before a route sees it, and after its answer. */
export function guardBorder(fastify: FastifyInstance, options: HttpOptions, logger: AppLogger): void {
  const ours = new URL(options.publicUrl).origin;
  fastify.addHook('onRequest', (request, reply, done) => {
    void reply.header('X-Request-Id', request.id);
    void reply.header('X-Content-Type-Options', 'nosniff');
    void reply.header('X-Frame-Options', 'DENY');
    void reply.header('Referrer-Policy', 'no-referrer');
    try {
      checkOrigin(request, ours);
    } catch (error) {
      sendProblem(request, reply, toProblem(error));
      return;
    }
    done();
  });
  let closing = false;
  fastify.addHook('preClose', (done) => {
    closing = true;
    done();
  });
  fastify.addHook('onSend', (request, reply, payload, done) => {
    // A connection kept alive by its client would hold the stop up until it times out.
    if (closing) void reply.header('Connection', 'close');
    // Answers are an agency's own: no cache on the way may keep them.
    if (request.url.startsWith('/v1/') && !reply.hasHeader('Cache-Control'))
      void reply.header('Cache-Control', 'no-store');
    done(null, payload);
  });
  fastify.addHook('onResponse', (request, reply, done) => {
    const line = {
      requestId: request.id,
      method: request.method,
      route: routeOf(request),
      status: reply.statusCode,
      milliseconds: Math.round(reply.elapsedTime),
      caller: request.principal?.id,
      tenantId: request.principal?.tenantId ?? undefined,
    };
    if (request.routeOptions.url?.startsWith('/health/')) logger.log.debug(line, 'request');
    else logger.log.info(line, 'request');
    done();
  });
}
