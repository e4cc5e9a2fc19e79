import { Body, Controller, Delete, Get, Param, Post, Query, Req, Res, StreamableFile } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Browsing, Drops, Holds, Points } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, cursorText, decodeCursor, encodeCursor, idParam, pageOf } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  dropAsked,
  type DropAsked,
  fileQuery,
  type FileQuery,
  folderEntry,
  holdRequest,
  type HoldRequest,
  pointView,
  treeQuery,
  type TreeQuery,
} from './recovery-point.schemas.js';

const nameCursor = z.tuple([cursorText.max(1_000)]);

@ApiTags('Recovery points')
@Controller('v1/recovery-points/:id')
export class RecoveryPointsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly points: Points,
    private readonly browsing: Browsing,
    private readonly holds: Holds,
    private readonly drops: Drops,
  ) {}

  @Get()
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'One recovery point', schema: pointView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.points.get(tx, id));
  }

  @Get('tree')
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'What lies in a folder of a recovery point, by name',
    description: 'The site is asked, and for a customer-held key the agent: 503 while it does not answer.',
    schema: pageOf(folderEntry),
  })
  async tree(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: treeQuery }) { path, limit, cursor }: TreeQuery,
  ) {
    const [after = null] = decodeCursor(cursor, nameCursor) ?? [];
    const { entries, more } = await this.browsing.folder(caller.tenantId, id, { path, after, limit });
    const last = entries.at(-1);
    return { items: entries, nextCursor: more && last ? encodeCursor([last.name]) : null };
  }

  @Get('file')
  @RequireScope('archives:restore')
  @Answers({
    status: 200,
    summary: 'The bytes of one file of a recovery point',
    description: 'Of archives with an escrowed key. The audit log has who took which file.',
    mediaType: 'application/octet-stream',
  })
  async file(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: fileQuery }) { path }: FileQuery,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<StreamableFile> {
    const gone = new AbortController();
    reply.raw.once('close', () => gone.abort());
    if (request.raw.destroyed) gone.abort();
    const { stream, length } = await this.browsing.file(caller, id, path, gone.signal);
    // Whatever the file is: no browser is to show it as a page of ours.
    void reply.header('x-content-type-options', 'nosniff');
    return new StreamableFile(stream, {
      type: 'application/octet-stream',
      disposition: attachment(path),
      ...(length === null ? {} : { length }),
    });
  }

  @Post('hold')
  @RequireScope('archives:write')
  @Answers({ status: 202, summary: 'Holds a recovery point, whatever its age, until it is lifted', schema: pointView })
  hold(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: holdRequest }) { because }: HoldRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.holds.hold(tx, id, because, caller));
  }

  @Delete('hold')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Lifts a hold; by an owner, or a member with the authority to declare',
    schema: pointView,
  })
  lift(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.holds.lift(tx, id, caller));
  }

  @Post('drop')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Asks that a recovery point be dropped before its time; another person approves it',
    description:
      'Of signed-in members who are owners or have the authority to declare. Unapproved, it expires after seven days.',
    schema: pointView,
  })
  drop(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: dropAsked }) { because }: DropAsked,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.drops.ask(tx, id, because, caller));
  }

  @Post('drop/approve')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'The second person’s word: the site drops it, unless the vault’s minimum age still holds it',
    schema: pointView,
  })
  approve(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.drops.approve(tx, id, caller));
  }

  @Delete('drop')
  @RequireScope('archives:write')
  @Answers({ status: 200, summary: 'Withdraws a request to drop that is not approved yet', schema: pointView })
  withdraw(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.drops.withdraw(tx, id, caller));
  }
}

/** The file's own name (RFC 6266), percent-encoded, so that nothing of it can end the header. */
function attachment(path: string): string {
  const name = encodeURIComponent((path.split('/').at(-1) ?? 'file').toWellFormed()).replaceAll(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename*=UTF-8''${name}`;
}
