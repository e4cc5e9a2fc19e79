import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Points } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { timeCursor } from '../archives/archives.controller.js';
import { pointsQuery, type PointsQuery, pointView } from './recovery-point.schemas.js';

@ApiTags('Recovery points')
@Controller('v1/archives/:id/recovery-points')
export class ArchivePointsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly points: Points,
  ) {}

  @Get()
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'Recovery points with age, size, what changed and their proof, the newest first',
    schema: pageOf(pointView),
  })
  list(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: pointsQuery }) { limit, cursor, before, part, forgotten }: PointsQuery,
  ) {
    const filter = {
      before: before === undefined ? null : new Date(before),
      part: part ?? null,
      forgotten: forgotten === 'true',
    };
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.points.list(tx, id, filter, decodeCursor(cursor, timeCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.receivedText, row.id],
        (row) => row,
      );
    });
  }
}
