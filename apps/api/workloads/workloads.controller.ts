import { Body, Controller, Delete, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Archives } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { Workloads } from '#libs/protection/control';
import { connectionOf, ProtectionHealth, Protections } from '#libs/replication/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  workloadChange,
  type WorkloadChange,
  workloadDetail,
  workloadInput,
  type WorkloadInput,
  workloadView,
} from './workload.schemas.js';

const workloadCursor = z.tuple([z.int(), z.uuid()]);

@ApiTags('Workloads')
@Controller('v1/workloads')
export class WorkloadsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly workloads: Workloads,
    private readonly protections: Protections,
    private readonly health: ProtectionHealth,
    private readonly archives: Archives,
  ) {}

  @Post()
  @RequireScope('workloads:write')
  @Answers({ status: 201, summary: 'Adds a workload of an agent', schema: workloadView })
  create(@CurrentCaller() caller: TenantCaller, @Body({ schema: workloadInput }) body: WorkloadInput) {
    return this.work.tenant(caller.tenantId, (tx) => this.workloads.create(tx, body, caller.actor));
  }

  @Get()
  @RequireScope('workloads:read')
  @Answers({ status: 200, summary: 'The agency’s workloads', schema: pageOf(workloadView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) { limit, cursor }: PageQuery) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.workloads.list(tx, decodeCursor(cursor, workloadCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.createdMicroseconds, row.id],
        (row) => row,
      );
    });
  }

  @Get(':id')
  @RequireScope('workloads:read')
  @Answers({
    status: 200,
    summary: 'One workload, and how clients connect so that they go on by themselves after a failover',
    schema: workloadDetail,
  })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const workload = await this.workloads.get(tx, id);
      const protection = await this.health.find(tx, id);
      const legs = [protection?.metro, protection?.regional].filter((leg) => leg != null);
      const connection = workload.kind === 'postgresql' ? connectionOf(workload.clientAddress, legs) : null;
      return { ...workload, connection, protection: protection ?? null };
    });
  }

  @Patch(':id')
  @RequireScope('workloads:write')
  @Answers({ status: 200, summary: 'Changes what is given of a workload', schema: workloadView })
  change(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: workloadChange }) body: WorkloadChange,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.workloads.change(tx, id, body, caller.actor));
  }

  @Delete(':id')
  @RequireScope('workloads:write')
  @Answers({ status: 204, summary: 'Removes a workload that is neither protected nor archived' })
  async remove(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, async (tx) => {
      await this.workloads.lock(tx, id);
      await this.protections.requireNone(tx, id);
      await this.archives.requireNone(tx, id);
      await this.workloads.remove(tx, id, caller.actor);
    });
  }
}
