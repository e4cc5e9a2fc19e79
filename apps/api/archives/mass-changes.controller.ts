import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Changes } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { changeView, verdictRequest, type VerdictRequest } from './archive.schemas.js';
import { timeCursor } from './archives.controller.js';

@ApiTags('Archives')
@Controller('v1/archives/:id/changes')
export class MassChangesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly changes: Changes,
  ) {}

  @Get()
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'Suspected mass changes with the numbers behind them, the newest first',
    schema: pageOf(changeView),
  })
  list(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: pageQuery }) { limit, cursor }: PageQuery,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.changes.list(tx, id, decodeCursor(cursor, timeCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.atText, row.id],
        (row) => row,
      );
    });
  }

  @Get(':changeId')
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'One suspected mass change', schema: changeView })
  get(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('changeId', { schema: idParam }) changeId: string,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.changes.get(tx, id, changeId));
  }

  @Post(':changeId/verdict')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'A person’s word on a suspected change; until then nothing is removed from the archive',
    description:
      'Of signed-in members only. `dealt-with` needs an owner or the authority to declare, and a second such member who says it too: the first answer shows `releaseAskedBy`.',
    schema: changeView,
  })
  judge(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('changeId', { schema: idParam }) changeId: string,
    @Body({ schema: verdictRequest }) { verdict }: VerdictRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.changes.judge(tx, id, changeId, verdict, caller));
  }
}
