import { Body, Controller, Delete, Get, Param, Patch, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam, pageOf, pageQuery, type PageQuery } from '#libs/platform/http';
import { Enrolment } from '#libs/sites/control';
import {
  CurrentCaller,
  memberChange,
  type MemberChange,
  Members,
  memberView,
  RequireScope,
  type TenantCaller,
} from '#libs/tenancy/control';

@ApiTags('Members')
@Controller('v1/members')
export class MembersController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly members: Members,
    private readonly enrolment: Enrolment,
  ) {}

  @Get()
  @RequireScope('members:read')
  @Answers({ status: 200, summary: 'The agency’s members', schema: pageOf(memberView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) page: PageQuery) {
    return this.work.tenant(caller.tenantId, (tx) => this.members.list(tx, page));
  }

  @Get(':id')
  @RequireScope('members:read')
  @Answers({ status: 200, summary: 'One member', schema: memberView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.members.get(tx, id));
  }

  @Patch(':id')
  @RequireScope('members:write')
  @Answers({ status: 200, summary: 'Changes a member’s role or authority to declare', schema: memberView })
  change(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: memberChange }) body: MemberChange,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const { member, makers } = await this.members.change(tx, id, body, caller);
      await this.enrolment.withdrawMadeBy(tx, makers, caller.actor);
      return member;
    });
  }

  @Delete(':id')
  @RequireScope('members:write')
  @Answers({ status: 204, summary: 'Removes a member, with their sessions and all that they handed out' })
  async remove(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, async (tx) => {
      const makers = await this.members.remove(tx, id, caller);
      await this.enrolment.withdrawMadeBy(tx, makers, caller.actor);
    });
  }
}
