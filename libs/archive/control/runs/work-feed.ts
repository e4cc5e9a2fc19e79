import { createHash } from 'node:crypto';
import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Listener, type TenantTransaction, UnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { type WorkSight, WorkWatch } from './work-watch.js';

export const WORK_FEED_URL = Symbol('address of the database that tells of runs and restores');

const HEARTBEAT_MS = 10_000;
/** Whoever follows must still be allowed to, asked so often. */
const ASK_AGAIN_MS = 5_000;

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

/** By what a run or restore is named in notifications, which every role of the database can hear: see migration 0040. */
const nameInNotifications = (id: string): string => createHash('sha256').update(id).digest('hex');

/** Follows runs and restores of archives live: woken by the database, read once for all that follow the same one. */
@Injectable()
export class WorkFeed implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly watches = new Map<string, WorkWatch>();
  private readonly stopping = new AbortController();
  private readonly listener: Listener;

  constructor(
    @Inject(WORK_FEED_URL) url: string,
    private readonly work: UnitOfWork,
    logger: AppLogger,
  ) {
    this.listener = new Listener(url, ['archive_work'], (_channel, name) => this.heard(name), logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.listener.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    for (const watch of this.watches.values()) watch.wake();
    await this.listener.close();
  }

  /** An empty name: the listener has (re)connected, so anything may have happened. */
  private heard(name: string): void {
    for (const watch of this.watches.values()) if (name === '' || name === watch.name) watch.wake();
  }

  /**
   * Its states as they come, the newest only, until it has ended, the follower may not see it any more, or its signal says
   * stop.
   *
   * @throws what reading it throws
   */
  async *follow(following: WorkFollowing): AsyncGenerator<WorkFeedItem> {
    const { tenantId, id, after, signal, stillMay } = following;
    const stop = AbortSignal.any([signal, this.stopping.signal]);
    const watch = this.watch(following);
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
      if (watch.leave()) this.watches.delete(`${tenantId}/${id}`);
    }
  }

  private watch({ tenantId, id, read }: WorkFollowing): WorkWatch {
    const key = `${tenantId}/${id}`;
    let watch = this.watches.get(key);
    if (!watch) {
      watch = new WorkWatch(nameInNotifications(id), () => this.work.tenant(tenantId, read));
      this.watches.set(key, watch);
    }
    watch.join();
    return watch;
  }
}
