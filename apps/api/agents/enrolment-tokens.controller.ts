import { Body, Controller, Delete, Get, Param, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam } from '#libs/platform/http';
import { Enrolment } from '#libs/sites/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  enrolmentToken,
  enrolmentTokenRequest,
  type EnrolmentTokenRequest,
  madeEnrolmentToken,
} from './agent.schemas.js';

const enrolmentTokens = z.object({ items: z.array(enrolmentToken), nextCursor: z.null() });

@ApiTags('Agents')
@Controller('v1/enrolment-tokens')
export class EnrolmentTokensController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly enrolment: Enrolment,
  ) {}

  @Post()
  @RequireScope('agents:write')
  @Answers({ status: 201, summary: 'Makes a one-time token for one agent', schema: madeEnrolmentToken })
  make(@CurrentCaller() caller: TenantCaller, @Body({ schema: enrolmentTokenRequest }) body: EnrolmentTokenRequest) {
    return this.work.tenant(caller.tenantId, (tx) => this.enrolment.make(tx, body, caller.actor));
  }

  @Get()
  @RequireScope('agents:read')
  @Answers({ status: 200, summary: 'The newest 200 tokens, without their texts', schema: enrolmentTokens })
  list(@CurrentCaller() caller: TenantCaller) {
    return this.work.tenant(caller.tenantId, async (tx) => ({
      items: await this.enrolment.list(tx),
      nextCursor: null,
    }));
  }

  @Delete(':id')
  @RequireScope('agents:write')
  @Answers({ status: 204, summary: 'Withdraws a token' })
  async withdraw(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, (tx) => this.enrolment.withdraw(tx, id, caller.actor));
  }
}
