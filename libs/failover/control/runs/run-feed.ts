import { Inject, Injectable, type OnApplicationBootstrap, type BeforeApplicationShutdown } from '@nestjs/common';
import type { RunEvent } from '#contracts/failover';
import { UnitOfWork, type Watch, Watches } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { isFinal } from '../failover.states.js';
import { Runs } from './run.service.js';
import { type RunSight, watchRun } from './run-watch.js';

export const RUN_FEED_URL = Symbol('address of the database that tells of runs');

const HEARTBEAT_MS = 10_000;
/** Whoever follows must still be allowed to, asked so often. */
const ASK_AGAIN_MS = 5_000;
/** A run's report may come before its last events do; a run that was given up has none. */
const LAST_EVENTS_MS = 2_000;

/** What a stream of a run says next; `heartbeat` only shows that it lives. */
export type FeedItem = { readonly kind: 'event'; readonly event: RunEvent } | { readonly kind: 'heartbeat' };

export interface Following {
  readonly tenantId: string;
  readonly runId: string;
  /** Events up to this number are known. */
  readonly after: number;
  readonly signal: AbortSignal;
  /** Whether the follower may still see the run: its key may be revoked, its session ended, its agency suspended. */
  readonly stillMay: () => Promise<boolean>;
}

/** Follows runs live: woken by the database, read once for all that follow the same run, under their own tenant. */
@Injectable()
export class RunFeed implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /** Told of by migration 0024. */
  private readonly watches: Watches<RunSight>;

  constructor(
    @Inject(RUN_FEED_URL) url: string,
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    logger: AppLogger,
  ) {
    this.watches = new Watches(url, 'failover_run', logger.log);
  }

  onApplicationBootstrap(): Promise<void> {
    return this.watches.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.watches.stop();
  }

  /**
   * The run's events above `after`, as they come, until the run has ended and all is told, the follower may not see it
   * any more, or its signal says stop.
   *
   * @throws NotFoundError when this agency has no such run.
   */
  async *follow({ tenantId, runId, after, signal, stillMay }: Following): AsyncGenerator<FeedItem> {
    const stop = AbortSignal.any([signal, this.watches.stopped]);
    const watch = this.watches.join(tenantId, runId, () => this.watch(tenantId, runId));
    let told = after;
    let spokeAt = performance.now();
    let askedAt = performance.now();
    let toldEnd = false;
    try {
      while (!stop.aborted) {
        const { state, events: all } = await watch.look();
        if (performance.now() - askedAt > ASK_AGAIN_MS) {
          if (!(await stillMay())) return;
          askedAt = performance.now();
        }
        const events = all.filter(({ number }) => number > told);
        for (const event of events) {
          toldEnd ||= isFinal(event.state);
          yield { kind: 'event', event };
        }
        if (events.length > 0) {
          told = events.at(-1)?.number ?? told;
          spokeAt = performance.now();
          continue;
        }
        if (isFinal(state) && (toldEnd || performance.now() - spokeAt > LAST_EVENTS_MS)) return;
        if (performance.now() - spokeAt > HEARTBEAT_MS) {
          yield { kind: 'heartbeat' };
          spokeAt = performance.now();
        }
        await watch.news();
      }
    } finally {
      this.watches.leave(tenantId, runId);
    }
  }

  private watch(tenantId: string, runId: string): Watch<RunSight> {
    return watchRun((after) =>
      // The state is read first: events that came before a final one are then all there.
      this.work.tenant(tenantId, async (tx) => ({
        state: await this.runs.state(tx, runId),
        events: await this.runs.events(tx, runId, after),
      })),
    );
  }
}
