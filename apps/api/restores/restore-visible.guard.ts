import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Restores } from '#libs/archive/control';
import { isUuid, UnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { EventStreams, holdPlace } from '../failovers/event-streams.js';

/** Lets only those into a restore's event stream who may see it, and only so many at once: see RunVisibleGuard. */
@Injectable()
export class RestoreVisibleGuard implements CanActivate {
  constructor(
    private readonly work: UnitOfWork,
    private readonly restores: Restores,
    private readonly streams: EventStreams,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest<{ Params: { id: string } }>>();
    const id = request.params.id.toLowerCase();
    const tenantId = request.tenantCaller?.tenantId;
    if (tenantId === undefined || !isUuid(id)) throw new NotFoundError('restore');
    await this.work.tenant(tenantId, (tx) => this.restores.get(tx, id));
    holdPlace(context, this.streams, tenantId);
    return true;
  }
}
