import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { ACCESS, type AccessKind, NotSignedInError } from '#libs/platform/http';
import { credentialOf } from './bearer.js';
import { SessionTokens } from './session-token.js';
import { reaches, REQUIRED_STAFF_ROLE, type StaffRole } from './staff-caller.js';
import { Staff } from './staff.service.js';

export class StaffRoleMissingError extends DomainError {
  constructor(least: StaffRole) {
    super('forbidden', 'staff.role-missing', `This needs the staff role ${least} or one above it.`);
  }
}

/** Lets provider staff into the routes marked with `@StaffOnly()`; other routes are not its business. */
@Injectable()
export class StaffGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly work: UnitOfWork,
    private readonly tokens: SessionTokens,
    private readonly staff: Staff,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, places) !== 'staff') return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const token = this.tokens.verify(credentialOf(request) ?? '');
    const caller = token && (await this.work.provider((tx) => this.staff.ofSession(tx, token)));
    if (!caller) throw new NotSignedInError('Sign in as provider staff: POST /v1/staff/sessions.');
    const least = this.reflector.getAllAndOverride<StaffRole | undefined>(REQUIRED_STAFF_ROLE, places) ?? 'support';
    if (!reaches(caller.role, least)) throw new StaffRoleMissingError(least);
    request.staffCaller = caller;
    request.principal = { kind: 'staff', id: caller.id, tenantId: null };
    return true;
  }
}
