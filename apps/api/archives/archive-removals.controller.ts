import { Body, Controller, Param, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { ArchiveRemovals } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { removalsUndone, undoRemovals, type UndoRemovals } from './archive.schemas.js';

@ApiTags('Archives')
@Controller('v1/archives/:id')
export class ArchiveRemovalsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly removals: ArchiveRemovals,
  ) {}

  @Post('undo-removals')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Brings back what was removed from the archive since then',
    description:
      'Sites keep what was removed for some days (7 unless the provider says otherwise). Takes a person with the authority. What two people dropped stays gone, and so do keys unless they are asked for.',
    schema: removalsUndone,
  })
  undo(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: undoRemovals }) { since, keys }: UndoRemovals,
  ) {
    return this.work.tenant(caller.tenantId, (tx) =>
      this.removals.undo(tx, id, { since: new Date(since), keys }, caller),
    );
  }
}
