import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { credentialOf } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { ACCESS, type AccessKind, NotSignedInError } from '#libs/platform/http';
import { ApiKeys, looksLikeApiKey } from './api-keys.js';
import { REQUIRED_SCOPE, type TenantCaller } from './caller.js';
import { MemberSessions } from './member-sessions.js';
import type { Scope } from './scopes.js';
import { DeclareMissingError, ScopeMissingError } from './tenancy.errors.js';

/** Lets members and API keys into the routes of their agency; other routes are not its business. */
@Injectable()
export class TenancyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly work: UnitOfWork,
    private readonly sessions: MemberSessions,
    private readonly keys: ApiKeys,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, places) !== 'tenant') return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const caller = await this.identify(request);
    if (!caller) throw new NotSignedInError();
    const needed = this.reflector.getAllAndOverride<Scope | undefined>(REQUIRED_SCOPE, places);
    if (needed !== undefined && !caller.scopes.includes(needed)) {
      throw needed === 'failovers:declare' ? new DeclareMissingError() : new ScopeMissingError(needed);
    }
    request.tenantCaller = caller;
    request.principal = { kind: caller.actor.kind, id: caller.actor.id, tenantId: caller.tenantId };
    return true;
  }

  private async identify(request: FastifyRequest): Promise<TenantCaller | undefined> {
    const credential = credentialOf(request);
    if (credential === undefined) return undefined;
    if (looksLikeApiKey(credential)) return this.work.provider((tx) => this.keys.caller(tx, credential));
    const session = await this.work.provider((tx) => this.sessions.caller(tx, credential));
    if (session) request.sessionToken = session.token;
    return session?.caller;
  }
}
