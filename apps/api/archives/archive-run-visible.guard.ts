import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Runs } from '#libs/archive/control';
import { isUuid, UnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { EventStreams, holdPlace } from '../failovers/event-streams.js';

/** Lets only those into a run's event stream who may see the run, and only so many at once: see RunVisibleGuard. */
@Injectable()
export class ArchiveRunVisibleGuard implements CanActivate {
  constructor(
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    private readonly streams: EventStreams,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest<{ Params: { id: string; runId: string } }>>();
    const [id, runId] = [request.params.id.toLowerCase(), request.params.runId.toLowerCase()];
    const tenantId = request.tenantCaller?.tenantId;
    if (tenantId === undefined || !isUuid(id) || !isUuid(runId)) throw new NotFoundError('archive run');
    await this.work.tenant(tenantId, (tx) => this.runs.get(tx, id, runId));
    holdPlace(context, this.streams, tenantId);
    return true;
  }
}
