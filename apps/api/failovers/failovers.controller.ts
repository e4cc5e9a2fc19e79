import {
  Body,
  Controller,
  Get,
  Headers,
  type MessageEvent,
  Param,
  Post,
  Query,
  Req,
  Sse,
  UseGuards,
} from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { Observable } from 'rxjs';
import { z } from 'zod';
import { type FeedItem, RunFeed, Runs } from '#libs/failover/control';
import { credentialOf } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { Callers, CurrentCaller, RequireDeclare, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { runCursor } from './declarations.controller.js';
import {
  cancelRequest,
  type CancelRequest,
  confirmRequest,
  type ConfirmRequest,
  runSummary,
  runView,
} from './failover.schemas.js';
import { RunVisibleGuard } from './run-visible.guard.js';

const eventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).optional().meta({ description: 'Like Last-Event-ID: events above it.' }),
});

@ApiTags('Failovers')
@Controller('v1/failovers')
export class FailoversController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    private readonly feed: RunFeed,
    private readonly callers: Callers,
  ) {}

  @Get()
  @RequireScope('failovers:read')
  @Answers({
    status: 200,
    summary: 'All failover runs, the newest first; steps in the single run',
    schema: pageOf(runSummary),
  })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) { limit, cursor }: PageQuery) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.runs.list(tx, null, decodeCursor(cursor, runCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.createdMicroseconds, row.id],
        (row) => row,
      );
    });
  }

  @Get(':id')
  @RequireScope('failovers:read')
  @Answers({ status: 200, summary: 'A run with its declaration, steps, evidence and report', schema: runView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.get(tx, id));
  }

  @Sse(':id/events')
  @UseGuards(RunVisibleGuard)
  @RequireScope('failovers:read')
  @Answers({
    status: 200,
    summary: 'A run’s events as they come (server-sent events)',
    description:
      'Event `run`, its id counts from 1: resume with Last-Event-ID. Event `heartbeat` every ten seconds of silence. The stream ends when the run has ended, and within seconds once the caller may not see it any more.',
    mediaType: 'text/event-stream',
  })
  events(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: eventsQuery }) query: z.infer<typeof eventsQuery>,
    @Headers('last-event-id') last: string | undefined,
    @Req() request: FastifyRequest,
  ): Observable<MessageEvent> {
    const after = query.after ?? (last !== undefined && /^\d{1,9}$/.test(last) ? Number(last) : 0);
    return new Observable<MessageEvent>((subscriber) => {
      const stop = new AbortController();
      const items = this.feed.follow({
        tenantId: caller.tenantId,
        runId: id,
        after,
        signal: stop.signal,
        stillMay: () => this.stillMay(request, caller.tenantId),
      });
      void (async () => {
        try {
          for await (const item of items) subscriber.next(toMessage(item));
          subscriber.complete();
        } catch (error) {
          subscriber.error(error);
        }
      })();
      return () => stop.abort();
    });
  }

  private async stillMay(request: FastifyRequest, tenantId: string): Promise<boolean> {
    const found = await this.callers.identify(credentialOf(request) ?? '');
    return found?.caller.tenantId === tenantId && found.caller.scopes.includes('failovers:read');
  }

  @Post(':id/cancel')
  @RequireDeclare()
  @Answers({ status: 202, summary: 'Asks to cancel a run; the site says whether it still can be', schema: runView })
  cancel(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: cancelRequest }) body: CancelRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.cancel(tx, id, body.abandon, caller.actor));
  }

  @Post(':id/confirm')
  @RequireDeclare()
  @Answers({ status: 202, summary: 'Says what a run that awaits confirmation asks for', schema: runView })
  confirm(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: confirmRequest }) body: ConfirmRequest,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.runs.confirm(tx, id, body, caller.actor));
  }
}

const toMessage = (item: FeedItem): MessageEvent =>
  item.kind === 'event'
    ? { type: 'run', id: String(item.event.number), data: item.event }
    : { type: 'heartbeat', data: {} };
