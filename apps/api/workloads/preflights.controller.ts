import { Controller, Get, Param, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam } from '#libs/platform/http';
import { Preflights } from '#libs/replication/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { preflightView } from './workload.schemas.js';

const preflights = z.object({ items: z.array(preflightView), nextCursor: z.null() });

@ApiTags('Workloads')
@Controller('v1/workloads/:id/preflights')
export class PreflightsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly preflights: Preflights,
  ) {}

  @Post()
  @RequireScope('workloads:write')
  @Answers({
    status: 202,
    summary: 'Looks whether the server can be replicated; changes nothing there',
    schema: preflightView,
  })
  start(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.preflights.start(tx, id, caller.actor));
  }

  @Get()
  @RequireScope('workloads:read')
  @Answers({ status: 200, summary: 'The newest hundred preflights', schema: preflights })
  list(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => ({
      items: await this.preflights.list(tx, id),
      nextCursor: null,
    }));
  }

  @Get(':preflightId')
  @RequireScope('workloads:read')
  @Answers({ status: 200, summary: 'One preflight with its findings and what to do about each', schema: preflightView })
  get(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('preflightId', { schema: idParam }) preflightId: string,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.preflights.get(tx, id, preflightId));
  }
}
