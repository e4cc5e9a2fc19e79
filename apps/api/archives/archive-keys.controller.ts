import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Archives, Keys } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { exitRequest, type ExitRequest, exitView, keyUse, rotationView } from './archive.schemas.js';
import { timeCursor } from './archives.controller.js';

@ApiTags('Archives')
@Controller('v1/archives/:id')
export class ArchiveKeysController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly archives: Archives,
    private readonly keys: Keys,
  ) {}

  @Get('key-uses')
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'Each opening of the archive’s key at the site, and for what, the newest first',
    schema: pageOf(keyUse),
  })
  uses(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: pageQuery }) { limit, cursor }: PageQuery,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.keys.uses(tx, id, decodeCursor(cursor, timeCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.atText, row.id],
        (row) => row,
      );
    });
  }

  @Post('keys/rotate')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'New passwords for site and agent; the old ones are removed from the repository',
    description:
      'With a customer-held key the agent makes the new password, as soon as it answers, and people are told by mail: fetch it from the agent’s machine with the command in `next` and put it into your safe. The old one then opens the archive no longer.',
    schema: rotationView,
  })
  rotate(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.keys.rotate(tx, id, caller.actor));
  }

  @Post('exit')
  @RequireScope('archives:restore')
  @Answers({
    status: 202,
    summary: 'Lets the person at the agent’s machine copy the whole archive out with a stock restic',
    description: 'For so many hours. People are told, since whoever has that credential reads all of it.',
    schema: exitView,
  })
  exit(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: exitRequest }) { hours }: ExitRequest,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const { workloadName } = await this.archives.get(tx, id);
      const exit = await this.keys.allowExit(tx, id, hours, caller.actor);
      return { ...exit, next: `mainstay-agent archive exit ${workloadName}` };
    });
  }
}
