import { Body, Controller, Delete, Get, Inject, Post, Req, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Identity, refusalOf, SignIn, SignInRefusedError } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, HTTP_OPTIONS, type HttpOptions, Public, SeveralTransactions } from '#libs/platform/http';
import {
  AnyTenantCaller,
  CurrentCaller,
  MemberSessions,
  type OpenedSession,
  type TenantCaller,
} from '#libs/tenancy/control';
import { endSessionCookie, setSessionCookie } from './session-cookie.js';
import { callerView, sessionRequest, type SessionRequest, sessionView } from './session.schemas.js';

const toView = (caller: TenantCaller) => ({
  agencyId: caller.tenantId,
  kind: caller.actor.kind,
  id: caller.actor.id,
  name: caller.actor.name,
  role: caller.role,
  mayDeclare: caller.mayDeclare,
  scopes: [...new Set(caller.scopes)],
});

@ApiTags('Sessions')
@Controller('v1/sessions')
export class SessionController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly identity: Identity,
    private readonly signing: SignIn,
    private readonly sessions: MemberSessions,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {}

  @Post()
  @Public()
  @SeveralTransactions()
  @Answers({ status: 201, summary: 'Signs a member in', schema: sessionView })
  async open(
    @Body({ schema: sessionRequest }) body: SessionRequest,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const session = await this.signIn(body, request.ip);
    const view = { expiresAt: session.expiresAt, caller: toView(session.caller) };
    if (body.transport === 'bearer') return { ...view, token: session.token };
    const seconds = Math.floor((Date.parse(session.expiresAt) - Date.now()) / 1_000);
    setSessionCookie(reply, this.options.publicUrl, session.token, seconds);
    return { ...view, token: null };
  }

  private async signIn(body: SessionRequest, address: string): Promise<OpenedSession> {
    const outcome = await this.signing.attempt({ ...body, address }, (tx, signedIn) =>
      this.sessions.open(tx, signedIn, body.agencyId),
    );
    if (outcome.kind !== 'signed-in') throw refusalOf(outcome);
    if (!outcome.value) throw new SignInRefusedError();
    return outcome.value;
  }

  @Get('current')
  @AnyTenantCaller()
  @Answers({ status: 200, summary: 'Who calls, and what this caller may do', schema: callerView })
  current(@CurrentCaller() caller: TenantCaller) {
    return toView(caller);
  }

  @Delete('current')
  @AnyTenantCaller()
  @Answers({ status: 204, summary: 'Signs the member out' })
  async close(@Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<void> {
    const { sessionToken } = request;
    if (sessionToken !== undefined) await this.work.provider((tx) => this.identity.endSession(tx, sessionToken));
    endSessionCookie(reply, this.options.publicUrl);
  }
}
