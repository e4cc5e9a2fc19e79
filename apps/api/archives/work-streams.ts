import { Injectable, type MessageEvent } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { Observable } from 'rxjs';
import { z } from 'zod';
import { WorkFeed, type WorkFeedItem, type WorkSight } from '#libs/archive/control';
import { credentialOf } from '#libs/identity/control';
import type { TenantTransaction } from '#libs/platform/database';
import { Callers } from '#libs/tenancy/control';

export const eventsQuery = z.strictObject({
  after: z.coerce.number().int().min(0).optional().meta({ description: 'Like Last-Event-ID: states above it.' }),
});
export type EventsQuery = z.infer<typeof eventsQuery>;

/** From where on a stream tells, by its query or by what a client that dials again sends. */
export const afterOf = (query: EventsQuery, last: string | undefined): number =>
  query.after ?? (last !== undefined && /^\d{1,9}$/.test(last) ? Number(last) : 0);

export interface WorkStream {
  readonly tenantId: string;
  readonly id: string;
  /** The name of its events. */
  readonly type: 'run' | 'restore';
  readonly after: number;
  readonly read: (tx: TenantTransaction) => Promise<WorkSight>;
}

/** Streams of runs and restores of archives, as server-sent events. */
@Injectable()
export class WorkStreams {
  constructor(
    private readonly feed: WorkFeed,
    private readonly callers: Callers,
  ) {}

  open(request: FastifyRequest, { type, ...followed }: WorkStream): Observable<MessageEvent> {
    return new Observable<MessageEvent>((subscriber) => {
      const stop = new AbortController();
      const stillMay = () => this.stillMay(request, followed.tenantId);
      const items = this.feed.follow({ ...followed, signal: stop.signal, stillMay });
      void (async () => {
        try {
          for await (const item of items) subscriber.next(toMessage(type, item));
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
    return found?.caller.tenantId === tenantId && found.caller.scopes.includes('archives:read');
  }
}

const toMessage = (type: string, item: WorkFeedItem): MessageEvent =>
  item.kind === 'state'
    ? { type, id: String(item.sight.version), data: item.sight.view }
    : { type: 'heartbeat', data: {} };
