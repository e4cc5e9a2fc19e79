import { Body, Controller, Delete, Inject, Post, Req, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Audit } from '#libs/audit/control';
import { type ClientSession, credentialOf, TwoFactor } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { Answers, HTTP_OPTIONS, type HttpOptions, Limit } from '#libs/platform/http';
import { AnyTenantCaller, CurrentCaller, type TenantCaller } from '#libs/tenancy/control';
import { setSessionCookie } from './session-cookie.js';
import { renewedSession } from './session.schemas.js';
import { type CodeBody, codeBody, type PasswordBody, passwordBody, twoFactorSetUp } from './two-factor.schemas.js';

class SessionNeededError extends DomainError {
  constructor() {
    super('forbidden', 'session.needed', 'Only a signed-in member can change a second factor: an API key cannot.');
  }
}

@ApiTags('Sessions')
@AnyTenantCaller()
@Controller('v1/sessions/current/two-factor')
export class TwoFactorController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly twoFactor: TwoFactor,
    private readonly audit: Audit,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {}

  @Post()
  @Limit('two-factor', 10, 60)
  @Answers({ status: 201, summary: 'Begins the set-up of an authenticator app', schema: twoFactorSetUp })
  async begin(@Body({ schema: passwordBody }) body: PasswordBody, @Req() request: FastifyRequest) {
    const token = this.session(request);
    const proven = await this.twoFactor.prove(token, body.password);
    return this.work.provider((tx) => this.twoFactor.begin(tx, token, proven));
  }

  @Post('confirm')
  @Limit('two-factor', 10, 60)
  @Answers({
    status: 200,
    summary: 'Ends the set-up with a code; the session’s token is renewed, the person’s other sessions end',
    schema: renewedSession,
  })
  async confirm(
    @Body({ schema: codeBody }) body: CodeBody,
    @CurrentCaller() caller: TenantCaller,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const token = this.session(request);
    const renewed = await this.work.provider(async (tx) => {
      const session = await this.twoFactor.confirm(tx, token, body.code);
      await this.record(tx, caller, 'two-factor.set-up');
      return session;
    });
    return this.hand(renewed, request, reply);
  }

  @Delete()
  @Limit('two-factor', 10, 60)
  @Answers({
    status: 200,
    summary: 'Removes the authenticator app; the session’s token is renewed',
    schema: renewedSession,
  })
  async remove(
    @Body({ schema: passwordBody }) body: PasswordBody,
    @CurrentCaller() caller: TenantCaller,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const token = this.session(request);
    const proven = await this.twoFactor.prove(token, body.password);
    const renewed = await this.work.provider(async (tx) => {
      const session = await this.twoFactor.end(tx, token, proven);
      await this.record(tx, caller, 'two-factor.removed');
      return session;
    });
    return this.hand(renewed, request, reply);
  }

  private session(request: FastifyRequest): string {
    if (request.sessionToken === undefined) throw new SessionNeededError();
    return request.sessionToken;
  }

  private record(tx: Parameters<Audit['record']>[0], caller: TenantCaller, action: string): Promise<void> {
    return this.audit.record(tx, {
      tenantId: caller.tenantId,
      actor: caller.actor,
      action,
      subjectKind: 'member',
      subjectId: caller.actor.id,
    });
  }

  /** The renewed token goes where the old one came from. */
  private hand(renewed: ClientSession, request: FastifyRequest, reply: FastifyReply) {
    const expiresAt = renewed.expiresAt.toISOString();
    const byCookie = request.headers.authorization === undefined && credentialOf(request) !== undefined;
    if (!byCookie) return { token: renewed.token, expiresAt };
    const seconds = Math.floor((renewed.expiresAt.getTime() - Date.now()) / 1_000);
    setSessionCookie(reply, this.options.publicUrl, renewed.token, seconds);
    return { token: null, expiresAt };
  }
}
