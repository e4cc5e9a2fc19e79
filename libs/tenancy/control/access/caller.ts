import { applyDecorators, createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { Actor } from '#libs/audit/control';
import { Access } from '#libs/platform/http';
import type { Role, Scope } from './scopes.js';

/** Who calls in an agency's name: a signed-in member or an API key. */
export interface TenantCaller {
  readonly tenantId: string;
  /** Fits an audit entry as it is. */
  readonly actor: Actor & { readonly kind: 'member' | 'api-key'; readonly id: string };
  /** Null for an API key. */
  readonly role: Role | null;
  /** Whether this caller may declare a failover. */
  readonly mayDeclare: boolean;
  readonly scopes: readonly Scope[];
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the tenancy guard on routes of an agency. */
    tenantCaller?: TenantCaller;
  }
}

export const REQUIRED_SCOPE = Symbol('mainstay required scope');

/** The route is an agency's and needs this scope: of an API key, or by the member's role. */
export const RequireScope = (scope: Scope): MethodDecorator & ClassDecorator =>
  applyDecorators(Access('tenant'), SetMetadata(REQUIRED_SCOPE, scope));

/** The route needs the authority to declare a failover. */
export const RequireDeclare = (): MethodDecorator & ClassDecorator => RequireScope('failovers:declare');

/** Any signed-in member or key of an agency may call the route. */
export const AnyTenantCaller = (): MethodDecorator & ClassDecorator => Access('tenant');

/** The caller of a route of an agency. */
export const CurrentCaller = createParamDecorator((_: undefined, context: ExecutionContext): TenantCaller => {
  const caller = context.switchToHttp().getRequest<FastifyRequest>().tenantCaller;
  if (!caller) throw new Error('@CurrentCaller() stands on a route without @RequireScope()');
  return caller;
});
