import { Body, Controller, Delete, Get, Param, Patch, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam } from '#libs/platform/http';
import { DegradeGrants, ProtectionCreation, ProtectionHealth, Protections } from '#libs/replication/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  degradeGrant,
  degradeRequest,
  type DegradeRequest,
  protectionChange,
  type ProtectionChange,
  protectionEvents,
  protectionInput,
  type ProtectionInput,
  protectionView,
  rearmRequest,
  type RearmRequest,
} from './protection.schemas.js';

@ApiTags('Protections')
@Controller('v1/workloads/:id/protection')
export class ProtectionsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly creation: ProtectionCreation,
    private readonly protections: Protections,
    private readonly health: ProtectionHealth,
    private readonly grants: DegradeGrants,
  ) {}

  @Post()
  @RequireScope('protections:write')
  @Answers({
    status: 202,
    summary: 'Protects a workload at a metro and a regional site',
    description:
      'Without a passed preflight of the last 15 minutes one is run first: the state is `checking`, then `protecting` or `blocked`.',
    schema: protectionView,
  })
  create(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: protectionInput }) body: ProtectionInput,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      await this.creation.create(tx, id, body, caller.actor);
      return this.health.view(tx, id);
    });
  }

  @Get()
  @RequireScope('protections:read')
  @Answers({ status: 200, summary: 'How a workload is protected, and how that does now', schema: protectionView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.health.view(tx, id));
  }

  @Get('events')
  @RequireScope('protections:read')
  @Answers({ status: 200, summary: 'The newest hundred events: states, arming, divergence', schema: protectionEvents })
  events(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => ({
      items: await this.health.events(tx, id),
      nextCursor: null,
    }));
  }

  @Patch()
  @RequireScope('protections:write')
  @Answers({
    status: 202,
    summary: 'Changes mode, pace or client networks, pauses, resumes, announces a reboot',
    description: 'Client networks alone may be changed during and after a failover too.',
    schema: protectionView,
  })
  change(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: protectionChange }) body: ProtectionChange,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      await this.protections.change(tx, id, body, caller.actor);
      return this.health.view(tx, id);
    });
  }

  @Delete()
  @RequireScope('protections:write')
  @Answers({ status: 204, summary: 'Removes a protection; nothing is left behind at the agency or at the sites' })
  async remove(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, (tx) => this.protections.remove(tx, id, caller.actor));
  }

  @Post('degrade')
  @RequireScope('protections:write')
  @Answers({
    status: 202,
    summary: 'A person’s word that production may go on without the synchronous site',
    description:
      'When the metro site is lost, choose `regional` first: nothing is lost then by a second loss either. Refused once a failover has been declared. If the regional site is not near, nothing changes and an alarm says so. With `alone` a second loss is unknown until it is armed again.',
    schema: degradeGrant,
  })
  degrade(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: degradeRequest }) body: DegradeRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.grants.grant(tx, id, body, caller.actor));
  }

  @Post('rearm')
  @RequireScope('protections:write')
  @Answers({
    status: 202,
    summary: 'Ends a grant to degrade: writes wait for the metro again, also from the regional site back',
    schema: degradeGrant,
  })
  rearm(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: rearmRequest }) body: RearmRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.grants.rearm(tx, id, body.reason, caller.actor));
  }
}
