import { Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { Agents } from '#libs/sites/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { agentView } from './agent.schemas.js';

const agentCursor = z.tuple([z.int(), z.uuid()]);

@ApiTags('Agents')
@Controller('v1/agents')
export class AgentsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly agents: Agents,
  ) {}

  @Get()
  @RequireScope('agents:read')
  @Answers({ status: 200, summary: 'The agency’s agents with the state of their links', schema: pageOf(agentView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) { limit, cursor }: PageQuery) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.agents.list(tx, decodeCursor(cursor, agentCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.enrolledMicroseconds, row.id],
        (row) => row,
      );
    });
  }

  @Get(':id')
  @RequireScope('agents:read')
  @Answers({ status: 200, summary: 'One agent', schema: agentView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.agents.get(tx, id));
  }

  @Post(':id/revoke')
  @RequireScope('agents:write')
  @Answers({
    status: 200,
    summary: 'Ends an agent for good; its live links are cut within two seconds',
    schema: agentView,
  })
  revoke(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.agents.revoke(tx, id, caller.actor));
  }
}
