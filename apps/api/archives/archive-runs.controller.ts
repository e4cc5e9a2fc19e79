import { Controller, Get, Headers, type MessageEvent, Param, Post, Query, Req, Sse, UseGuards } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { Observable } from 'rxjs';
import { runHasEnded, Runs } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { runView } from './archive.schemas.js';
import { ArchiveRunVisibleGuard } from './archive-run-visible.guard.js';
import { timeCursor } from './archives.controller.js';
import { afterOf, type EventsQuery, eventsQuery, WorkStreams } from './work-streams.js';

@ApiTags('Archives')
@Controller('v1/archives/:id/runs')
export class ArchiveRunsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    private readonly streams: WorkStreams,
  ) {}

  @Post()
  @RequireScope('archives:write')
  @Answers({ status: 202, summary: 'Has a run begin now, beside the schedule', schema: runView })
  start(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.start(tx, id, caller.actor));
  }

  @Get()
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'Runs with their faults, the newest first', schema: pageOf(runView) })
  list(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: pageQuery }) { limit, cursor }: PageQuery,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.runs.list(tx, id, decodeCursor(cursor, timeCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.dueText, row.id],
        (row) => row,
      );
    });
  }

  @Get(':runId')
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'A run with its progress, summary and faults', schema: runView })
  get(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('runId', { schema: idParam }) runId: string,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.get(tx, id, runId));
  }

  @Sse(':runId/events')
  @UseGuards(ArchiveRunVisibleGuard)
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'A run’s states and progress as they come (server-sent events)',
    description:
      'Event `run` with the run as GET answers it, the newest state only; its id rises: resume with Last-Event-ID. Event `heartbeat` every ten seconds of silence. The stream ends when the run has ended, and within seconds once the caller may not see it any more.',
    mediaType: 'text/event-stream',
  })
  events(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('runId', { schema: idParam }) runId: string,
    @Query({ schema: eventsQuery }) query: EventsQuery,
    @Headers('last-event-id') last: string | undefined,
    @Req() request: FastifyRequest,
  ): Observable<MessageEvent> {
    return this.streams.open(request, {
      tenantId: caller.tenantId,
      id: runId,
      type: 'run',
      after: afterOf(query, last),
      read: async (tx) => {
        const run = await this.runs.get(tx, id, runId);
        return { version: run.version, ended: runHasEnded(run.state), view: runView.parse(run) };
      },
    });
  }

  @Post(':runId/cancel')
  @RequireScope('archives:write')
  @Answers({ status: 202, summary: 'Asks to cancel a run; the site says whether it still can be', schema: runView })
  cancel(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Param('runId', { schema: idParam }) runId: string,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.cancel(tx, id, runId, caller.actor));
  }
}
