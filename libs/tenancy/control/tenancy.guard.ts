import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { credentialOf } from '#libs/identity/control';
import { ACCESS, type AccessKind, Doorkeeper, NotSignedInError } from '#libs/platform/http';
import { REQUIRED_SCOPE } from './access/caller.js';
import { Callers, type Identified } from './access/callers.js';
import type { Scope } from './access/scopes.js';
import { DeclareMissingError, ScopeMissingError } from './tenancy.errors.js';

/** Lets members and API keys into the routes of their agency; other routes are not its business. */
@Injectable()
export class TenancyGuard implements CanActivate {
  constructor(
    private readonly reflector: Reflector,
    private readonly callers: Callers,
    private readonly door: Doorkeeper,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const places = [context.getHandler(), context.getClass()];
    if (this.reflector.getAllAndOverride<AccessKind | undefined>(ACCESS, places) !== 'tenant') return true;
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const found = await this.identify(request);
    if (!found) throw new NotSignedInError();
    const { caller, sessionToken } = found;
    const needed = this.reflector.getAllAndOverride<Scope | undefined>(REQUIRED_SCOPE, places);
    if (needed !== undefined && !caller.scopes.includes(needed)) {
      throw needed === 'failovers:declare' ? new DeclareMissingError() : new ScopeMissingError(needed);
    }
    request.tenantCaller = caller;
    if (sessionToken !== undefined) request.sessionToken = sessionToken;
    request.principal = { kind: caller.actor.kind, id: caller.actor.id, tenantId: caller.tenantId };
    return true;
  }

  private async identify(request: FastifyRequest): Promise<Identified | undefined> {
    const credential = credentialOf(request);
    if (credential === undefined) return undefined;
    return this.door.admit(request.ip, credential, () => this.callers.identify(credential));
  }
}
