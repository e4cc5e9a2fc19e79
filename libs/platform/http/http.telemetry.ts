import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  defineHistogram,
  inSpan,
  type LogContext,
  type Metrics,
  type OpenSpan,
  openSpan,
  withLogContext,
} from '#libs/platform/telemetry';

export const requestDuration = defineHistogram(
  'mainstay_http_request_duration_seconds',
  'Time from a request’s head to the end of its answer, by method, route template and status.',
  ['method', 'route', 'status'],
  [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
);

/** For what no route takes: a path that somebody made up must not become a label. */
const NO_ROUTE = '(none)';
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

export const routeOf = (request: FastifyRequest): string => request.routeOptions.url ?? NO_ROUTE;

/** Load balancers ask every second, and nobody follows that. */
const isProbe = (request: FastifyRequest): boolean => request.url.startsWith('/health/');

/**
 * Gives each request its span, its log ids and its place in the figures. Registered before all other hooks, so that
 * what they refuse is counted, too. A caller's W3C `traceparent` is continued.
 */
export function observeRequests(fastify: FastifyInstance, metrics: Metrics): void {
  metrics.counts(requestDuration);
  const spans = new WeakMap<FastifyRequest, OpenSpan>();
  const inForce = (request: FastifyRequest, done: () => void): void => {
    const ids: LogContext = { requestId: request.id };
    const span = spans.get(request);
    withLogContext(ids, () => (span ? inSpan(span, done) : done()));
  };
  fastify.addHook('onRequest', (request, _reply, done) => {
    if (!isProbe(request)) {
      const parent = request.headers['traceparent'];
      const attributes = { 'http.request.method': request.method, 'mainstay.request_id': request.id };
      const known = typeof parent === 'string' ? parent : undefined;
      spans.set(request, openSpan(request.method, { kind: 'server', parent: known, attributes }));
    }
    inForce(request, done);
  });
  // A body arrives in events of its connection, which know nothing of the request's context.
  fastify.addHook('preValidation', (request, _reply, done) => inForce(request, done));
  fastify.addHook('onResponse', (request, reply, done) => {
    const method = METHODS.has(request.method) ? request.method : 'other';
    const route = routeOf(request);
    metrics.observe(requestDuration, { method, route, status: String(reply.statusCode) }, reply.elapsedTime / 1_000);
    const span = spans.get(request);
    span?.name(`${method} ${route}`);
    span?.set({
      'http.route': route,
      'http.response.status_code': reply.statusCode,
      'mainstay.tenant_id': request.principal?.tenantId ?? undefined,
    });
    if (reply.statusCode >= 500) span?.fail(new Error('a request failed'));
    span?.end();
    // The log line of the answer carries the ids as well.
    inForce(request, done);
  });
}
