import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Runs } from '#libs/failover/control';
import { isUuid, UnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { EventStreams, holdPlace } from './event-streams.js';

/**
 * Lets only those into a run's event stream who may see the run, and only so many at once. It must be a guard: Nest commits the headers of an
 * event stream after a moment whether the handler has answered or not, so a slow look-up inside it would turn the 404
 * into a 200 with an error event, which tells that something is there.
 */
@Injectable()
export class RunVisibleGuard implements CanActivate {
  constructor(
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    private readonly streams: EventStreams,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest<{ Params: { id: string } }>>();
    const id = request.params.id.toLowerCase();
    const tenantId = request.tenantCaller?.tenantId;
    if (tenantId === undefined || !isUuid(id)) throw new NotFoundError('failover');
    await this.work.tenant(tenantId, (tx) => this.runs.state(tx, id));
    holdPlace(context, this.streams, tenantId);
    return true;
  }
}
