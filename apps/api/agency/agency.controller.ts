import { Body, Controller, Get, Patch } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { UnitOfWork } from '#libs/platform/database';
import { Answers } from '#libs/platform/http';
import {
  Agencies,
  agencyChange,
  type AgencyChange,
  agencyView,
  CurrentCaller,
  RequireScope,
  type TenantCaller,
} from '#libs/tenancy/control';

@ApiTags('Agency')
@Controller('v1/agency')
export class AgencyController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly agencies: Agencies,
  ) {}

  @Get()
  @RequireScope('agency:read')
  @Answers({ status: 200, summary: 'The caller’s agency', schema: agencyView })
  get(@CurrentCaller() caller: TenantCaller) {
    return this.work.tenant(caller.tenantId, (tx) => this.agencies.own(tx));
  }

  @Patch()
  @RequireScope('agency:write')
  @Answers({ status: 200, summary: 'Changes the agency’s name or contact', schema: agencyView })
  change(@CurrentCaller() caller: TenantCaller, @Body({ schema: agencyChange }) body: AgencyChange) {
    return this.work.tenant(caller.tenantId, (tx) => this.agencies.change(tx, body, caller));
  }
}
