import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type TenantTransaction, UnitOfWork, Watch, Watches } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';

export const WORK_FEED_URL = Symbol('address of the database that tells of runs and restores');

const HEARTBEAT_MS = 10_000;
/** Whoever follows must still be allowed to, asked so often. */
const ASK_AGAIN_MS = 5_000;

/** A run or restore as a stream tells it: the newest state counts, its version is the event's number. */
export interface WorkSight {
  readonly version: number;
  readonly ended: boolean;
  readonly view: object;
}

/** What a stream says next; `heartbeat` only shows that it lives. */
export type WorkFeedItem = { readonly kind: 'state'; readonly sight: WorkSight } | { readonly kind: 'heartbeat' };

export interface WorkFollowing {
  readonly tenantId: string;
  /** Of a run or a restore. */
  readonly id: string;
  /** Reads it, under the follower's own agency. @throws NotFoundError */
  readonly read: (tx: TenantTransaction) => Promise<WorkSight>;
  /** The state of this version is known. */
  readonly after: number;
  readonly signal: AbortSignal;
  readonly stillMay: () => Promise<boolean>;
}

/** Follows runs and restores of archives live: woken by the database, read once for all that follow the same one. */
@Injectable()
export class WorkFeed implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** Told of by migration 0040. */
  private readonly watches: Watches<WorkSight>;

  constructor(
    @Inject(WORK_FEED_URL) url: string,
    private readonly work: UnitOfWork,
    logger: AppLogger,
  ) {
    this.watches = new Watches(url, 'archive_work', logger.log);
  }

  onApplicationBootstrap(): Promise<void> {
    return this.watches.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.watches.stop();
  }

  /**
   * Its states as they come, the newest only, until it has ended, the follower may not see it any more, or its signal says
   * stop.
   *
   * @throws what reading it throws
   */
  async *follow({ tenantId, id, read, after, signal, stillMay }: WorkFollowing): AsyncGenerator<WorkFeedItem> {
    const stop = AbortSignal.any([signal, this.watches.stopped]);
    const watch = this.watches.join(tenantId, id, () => new Watch(() => this.work.tenant(tenantId, read)));
    let told = after;
    let spokeAt = performance.now();
    let askedAt = performance.now();
    try {
      while (!stop.aborted) {
        const sight = await watch.look();
        if (performance.now() - askedAt > ASK_AGAIN_MS) {
          if (!(await stillMay())) return;
          askedAt = performance.now();
        }
        if (sight.version > told) {
          told = sight.version;
          spokeAt = performance.now();
          yield { kind: 'state', sight };
        }
        if (sight.ended) return;
        if (performance.now() - spokeAt > HEARTBEAT_MS) {
          yield { kind: 'heartbeat' };
          spokeAt = performance.now();
        }
        await watch.news();
      }
    } finally {
      this.watches.leave(tenantId, id);
    }
  }
}
