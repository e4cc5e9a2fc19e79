import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { ACCESS, type AccessKind, Doorkeeper, NotSignedInError } from '#libs/platform/http';
import { credentialOf } from '../bearer.js';
import { SessionTokens } from '../sessions/session-token.js';
import {
  BEFORE_SECOND_FACTOR,
  reaches,
  REQUIRED_STAFF_ROLE,
  type StaffCaller,
  type StaffRole,
} from './staff-caller.js';
import { Staff } from './staff.service.js';

export class StaffRoleMissingError extends DomainError {
  constructor(least: StaffRole) {
    super('forbidden', 'staff.role-missing', `This needs the staff role ${least} or one above it.`);
  }
}

/** Who can change the provider's sites and agencies needs more than a password. */
export class SecondFactorNeededError extends DomainError {
  constructor() {
    super(
      'forbidden',
      'staff.second-factor-needed',
      'Set an authenticator app up first: POST /v1/staff/sessions/current/two-factor.',
    );
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
    private readonly door: Doorkeeper,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, places) !== 'staff') return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const credential = credentialOf(request);
    const token = credential === undefined ? undefined : this.tokens.verify(credential);
    const lookUp = async (): Promise<StaffCaller | undefined> =>
      token === undefined ? undefined : this.work.lookUp((tx) => this.staff.ofSession(tx, token));
    const caller = credential === undefined ? undefined : await this.door.admit(request.ip, credential, lookUp);
    if (!caller) throw new NotSignedInError('Sign in as provider staff: POST /v1/staff/sessions.');
    const least = this.reflector.getAllAndOverride<StaffRole | undefined>(REQUIRED_STAFF_ROLE, places) ?? 'support';
    if (!reaches(caller.role, least)) throw new StaffRoleMissingError(least);
    const early = this.reflector.getAllAndOverride<boolean | undefined>(BEFORE_SECOND_FACTOR, places) ?? false;
    if (!caller.secondFactor && reaches(caller.role, 'operator') && !early) throw new SecondFactorNeededError();
    request.staffCaller = caller;
    if (token !== undefined) request.sessionToken = token;
    request.principal = { kind: 'staff', id: caller.id, tenantId: null };
    return true;
  }
}
