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
import type { Observable } from 'rxjs';
import { restoreHasEnded, Restores, type RestoreView } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { timeCursor } from '../archives/archives.controller.js';
import { afterOf, type EventsQuery, eventsQuery, WorkStreams } from '../archives/work-streams.js';
import {
  restoreRequest,
  type RestoreRequest,
  restoresQuery,
  type RestoresQuery,
  restoreView,
} from './restore.schemas.js';
import { RestoreVisibleGuard } from './restore-visible.guard.js';

const shown = ({ pointId, ...restore }: RestoreView) => ({ ...restore, recoveryPointId: pointId });

@ApiTags('Restores')
@Controller('v1/restores')
export class RestoresController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly restores: Restores,
    private readonly streams: WorkStreams,
  ) {}

  @Post()
  @RequireScope('archives:restore')
  @Answers({
    status: 202,
    summary: 'Restores files, folders or all of a recovery point to the agent’s machine',
    description: 'Nothing that is there is overwritten unless `overwrite` says so.',
    schema: restoreView,
  })
  begin(@CurrentCaller() caller: TenantCaller, @Body({ schema: restoreRequest }) body: RestoreRequest) {
    const { recoveryPointId: pointId, ...rest } = body;
    return this.work.tenant(caller.tenantId, async (tx) =>
      shown(await this.restores.begin(tx, { pointId, ...rest }, caller.actor)),
    );
  }

  @Get()
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'Restores, the newest first', schema: pageOf(restoreView) })
  list(
    @CurrentCaller() caller: TenantCaller,
    @Query({ schema: restoresQuery }) { limit, cursor, archiveId = undefined }: RestoresQuery,
  ) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.restores.list(tx, archiveId ?? null, decodeCursor(cursor, timeCursor), limit);
      return toPage(rows, limit, (row) => [row.createdText, row.id], shown);
    });
  }

  @Get(':id')
  @RequireScope('archives:read')
  @Answers({ status: 200, summary: 'A restore with its progress and faults', schema: restoreView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => shown(await this.restores.get(tx, id)));
  }

  @Sse(':id/events')
  @UseGuards(RestoreVisibleGuard)
  @RequireScope('archives:read')
  @Answers({
    status: 200,
    summary: 'A restore’s states and progress as they come (server-sent events)',
    description:
      'Event `restore` with the restore as GET answers it, the newest state only; its id rises: resume with Last-Event-ID. Event `heartbeat` every ten seconds of silence. The stream ends when the restore has ended.',
    mediaType: 'text/event-stream',
  })
  events(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Query({ schema: eventsQuery }) query: EventsQuery,
    @Headers('last-event-id') last: string | undefined,
    @Req() request: FastifyRequest,
  ): Observable<MessageEvent> {
    return this.streams.open(request, {
      tenantId: caller.tenantId,
      id,
      type: 'restore',
      after: afterOf(query, last),
      read: async (tx) => {
        const restore = await this.restores.get(tx, id);
        const view = restoreView.parse(shown(restore));
        return { version: restore.version, ended: restoreHasEnded(restore.state), view };
      },
    });
  }

  @Post(':id/cancel')
  @RequireScope('archives:restore')
  @Answers({ status: 202, summary: 'Asks to stop a restore; what was restored by then stays', schema: restoreView })
  cancel(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, async (tx) => shown(await this.restores.cancel(tx, id, caller.actor)));
  }
}
