import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Declarations, Outlooks, Runs } from '#libs/failover/control';
import { UnitOfWork } from '#libs/platform/database';
import {
  Answers,
  decodeCursor,
  IdempotencyKeyRequired,
  idParam,
  pageOf,
  pageQuery,
  type PageQuery,
  toPage,
} from '#libs/platform/http';
import { Workloads } from '#libs/protection/control';
import { CurrentCaller, RequireDeclare, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  declarationRequest,
  type DeclarationRequest,
  previewRequest,
  type PreviewRequest,
  previewView,
  runSummary,
  runView,
} from './failover.schemas.js';

export const runCursor = z.tuple([z.int(), z.uuid()]);

@ApiTags('Failovers')
@Controller('v1/workloads/:id/failovers')
export class DeclarationsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly workloads: Workloads,
    private readonly declarations: Declarations,
    private readonly outlooks: Outlooks,
    private readonly runs: Runs,
  ) {}

  @Post('preview')
  @RequireScope('failovers:preview')
  @Answers({
    status: 200,
    summary: 'The dry answer: where to, how far behind, what would be lost, what stands in the way',
    schema: previewView,
  })
  preview(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: previewRequest }) body: PreviewRequest,
  ) {
    return this.outlooks.preview(caller.tenantId, id, body.siteId);
  }

  @Post()
  @RequireDeclare()
  @IdempotencyKeyRequired()
  @Answers({
    status: 202,
    summary: 'Declares a failover',
    description:
      'Answers 409 `failover.loss-not-accepted` or `failover.old-server-not-said` with `facts.send` when more must be said, and 409 `failover.open` while a run of this workload is under way.',
    schema: runView,
  })
  declare(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: declarationRequest }) body: DeclarationRequest,
  ) {
    return this.declarations.declare(caller.tenantId, id, body, caller.actor);
  }

  @Get()
  @RequireScope('failovers:read')
  @Answers({ status: 200, summary: 'Failover runs of a workload, the newest first', schema: pageOf(runSummary) })
  list(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: pageQuery }) { limit, cursor }: PageQuery,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      await this.workloads.get(tx, id);
      const rows = await this.runs.list(tx, id, decodeCursor(cursor, runCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.createdMicroseconds, row.id],
        (row) => row,
      );
    });
  }
}
