import { applyDecorators, createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Actor } from '#libs/audit/control';
import { Access } from '#libs/platform/http';

/** The provider's own people, most authority first. */
export const STAFF_ROLES = ['administrator', 'operator', 'support'] as const;
export const staffRole = z.enum(STAFF_ROLES).meta({ id: 'StaffRole' });
export type StaffRole = z.infer<typeof staffRole>;

/** Who calls for the provider. */
export interface StaffCaller {
  readonly id: string;
  readonly email: string;
  readonly role: StaffRole;
  /** Whether an authenticator app is set up: without one, who can change things may do nothing but that. */
  readonly secondFactor: boolean;
  /** Fits an audit entry as it is. */
  readonly actor: Actor & { readonly kind: 'staff'; readonly id: string };
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the staff guard on routes of the provider's staff. */
    staffCaller?: StaffCaller;
    /** The session's own token, when a person calls with a session. */
    sessionToken?: string;
  }
}

export const REQUIRED_STAFF_ROLE = Symbol('mainstay required staff role');

/** The route is for provider staff of this role or of one above it; for all staff when it is left out. */
export const StaffOnly = (least: StaffRole = 'support'): MethodDecorator & ClassDecorator =>
  applyDecorators(Access('staff'), SetMetadata(REQUIRED_STAFF_ROLE, least));

export const BEFORE_SECOND_FACTOR = Symbol('mainstay before the second factor');

/** The route also serves staff who still have to set their second factor up: to do it, and to sign out. */
export const BeforeSecondFactor = (): MethodDecorator => SetMetadata(BEFORE_SECOND_FACTOR, true);

/** True when `role` has at least the authority of `least`. */
export const reaches = (role: StaffRole, least: StaffRole): boolean =>
  STAFF_ROLES.indexOf(role) <= STAFF_ROLES.indexOf(least);

/** The caller of a route of the provider's staff. */
export const CurrentStaff = createParamDecorator((_: undefined, context: ExecutionContext): StaffCaller => {
  const caller = context.switchToHttp().getRequest<FastifyRequest>().staffCaller;
  if (!caller) throw new Error('@CurrentStaff() stands on a route without @StaffOnly()');
  return caller;
});
