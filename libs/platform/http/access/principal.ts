import type { FastifyRequest } from 'fastify';

/** Who calls, as far as the HTTP border must know: whose idempotency keys and rate limits apply. */
export interface Principal {
  readonly kind: 'member' | 'api-key' | 'staff' | 'agent';
  readonly id: string;
  /** The agency in whose name the call is made; null for staff. */
  readonly tenantId: string | null;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the guard that let the request in; undefined on a public route. */
    principal?: Principal;
  }
}

/** `member:…`, `api-key:…`, or `anonymous`: the scope of an idempotency key and of a rate limit. */
export const callerKey = (request: FastifyRequest): string =>
  request.principal ? `${request.principal.kind}:${request.principal.id}` : 'anonymous';
