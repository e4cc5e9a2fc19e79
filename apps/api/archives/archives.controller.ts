import { Body, Controller, Delete, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Archives, viewOf } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, cursorTime, decodeCursor, idParam, pageOf, pageQuery, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import {
  archiveChange,
  type ArchiveChangeBody,
  archiveInput,
  type ArchiveInputBody,
  archiveView,
} from './archive.schemas.js';

/** The sort key of pages by time: the newest first. */
export const timeCursor = z.tuple([cursorTime, z.uuid()]);

const archivesQuery = pageQuery.extend({ workloadId: z.uuid().optional() });

@ApiTags('Archives')
@Controller('v1/archives')
export class ArchivesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly archives: Archives,
  ) {}

  @Post()
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Archives a workload at a site, by schedule and retention',
    description:
      'Only the key mode has no default: the answer says what it means (`keyModeMeans`). A workload has one archive at a time.',
    schema: archiveView,
  })
  create(@CurrentCaller() caller: TenantCaller, @Body({ schema: archiveInput }) body: ArchiveInputBody) {
    return this.work.tenant(caller.tenantId, async (tx) => viewOf(await this.archives.create(tx, body, caller.actor)));
  }

  @Get()
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'The agency’s archives, the newest first', schema: pageOf(archiveView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: archivesQuery }) query: z.infer<typeof archivesQuery>) {
    const { limit, cursor, workloadId = null } = query;
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.archives.list(tx, { workloadId }, decodeCursor(cursor, timeCursor), limit);
      return toPage(rows, limit, (row) => [row.createdText, row.id], viewOf);
    });
  }

  @Get(':id')
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'One archive, and how it does now', schema: archiveView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => viewOf(await this.archives.get(tx, id)));
  }

  @Patch(':id')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Changes what is given of an archive, pauses and resumes it',
    description: 'People are told when it keeps less than before, and when it is paused.',
    schema: archiveView,
  })
  change(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: archiveChange }) body: ArchiveChangeBody,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) =>
      viewOf(await this.archives.change(tx, id, body, caller.actor)),
    );
  }

  @Delete(':id')
  @RequireScope('archives:write')
  @Answers({
    status: 202,
    summary: 'Ends an archive: nothing is added, and what is there stays until its time',
    schema: archiveView,
  })
  end(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => viewOf(await this.archives.end(tx, id, caller.actor)));
  }
}
