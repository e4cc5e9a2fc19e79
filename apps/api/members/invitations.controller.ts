import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Identity } from '#libs/identity/control';
import { beforeTheChange, UnitOfWork } from '#libs/platform/database';
import { Answers, idParam, Limit, pageOf, pageQuery, type PageQuery, Public } from '#libs/platform/http';
import {
  acceptRequest,
  type AcceptRequest,
  CurrentCaller,
  invitationRequest,
  type InvitationRequest,
  Invitations,
  invitationView,
  Inviting,
  memberView,
  RequireScope,
  type TenantCaller,
} from '#libs/tenancy/control';

@ApiTags('Members')
@Controller('v1/invitations')
export class InvitationsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly inviting: Inviting,
    private readonly invitations: Invitations,
    private readonly identity: Identity,
  ) {}

  @Get()
  @RequireScope('members:read')
  @Answers({ status: 200, summary: 'Invitations that are open', schema: pageOf(invitationView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) page: PageQuery) {
    return this.work.tenant(caller.tenantId, (tx) => this.inviting.list(tx, page));
  }

  @Post()
  @RequireScope('members:write')
  @Answers({ status: 201, summary: 'Invites a person by mail', schema: invitationView })
  invite(@CurrentCaller() caller: TenantCaller, @Body({ schema: invitationRequest }) body: InvitationRequest) {
    return this.work.tenant(caller.tenantId, (tx) => this.inviting.invite(tx, body, caller));
  }

  @Delete(':id')
  @RequireScope('members:write')
  @Answers({ status: 204, summary: 'Withdraws an invitation' })
  async withdraw(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, (tx) => this.inviting.withdraw(tx, id, caller));
  }

  @Post('accept')
  @Public()
  @Limit('invitation-accept', 30, 600)
  @Answers({ status: 201, summary: 'Accepts an invitation with the mailed token', schema: memberView })
  async accept(@Body({ schema: acceptRequest }) body: AcceptRequest) {
    const { email, hasAccount } = await beforeTheChange(() =>
      this.work.provider((tx) => this.invitations.invited(tx, body.token)),
    );
    const { password } = body;
    const wanted = !hasAccount && body.name !== undefined && password !== undefined;
    const passwordHash = wanted ? await this.identity.hash(password, email) : null;
    return this.work.provider((tx) => this.invitations.accept(tx, body, passwordHash));
  }
}
