import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable, type OnApplicationBootstrap, type BeforeApplicationShutdown } from '@nestjs/common';
import { type RunEvent } from '#contracts/failover';
import { Listener, UnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { isFinal } from './failover.states.js';
import { Runs } from './run.service.js';

export const RUN_FEED_URL = Symbol('address of the database that tells of runs');

/** A notification may be missed: so each stream looks by itself as well. */
const LOOK_EVERY_MS = 1_000;
const HEARTBEAT_MS = 10_000;
/** A run's report may come before its last events do; a run that was given up has none. */
const LAST_EVENTS_MS = 2_000;

/** What a stream of a run says next; `heartbeat` only shows that it lives. */
export type FeedItem = { readonly kind: 'event'; readonly event: RunEvent } | { readonly kind: 'heartbeat' };

/** Follows runs live: woken by the database, read under the caller's own tenant. */
@Injectable()
export class RunFeed implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly waiting = new Map<string, Set<() => void>>();
  private readonly stopping = new AbortController();
  private readonly listener: Listener;

  constructor(
    @Inject(RUN_FEED_URL) url: string,
    private readonly work: UnitOfWork,
    private readonly runs: Runs,
    logger: AppLogger,
  ) {
    this.listener = new Listener(url, ['failover_run'], (_channel, runId) => this.heard(runId), logger.log);
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.listener.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    await this.listener.close();
  }

  /** An empty id: the listener has (re)connected, so anything may have happened. */
  private heard(runId: string): void {
    for (const [id, wakes] of this.waiting) if (runId === '' || runId === id) for (const wake of wakes) wake();
  }

  /**
   * The run's events above `after`, as they come, until the run has ended and all is told, or `signal` says stop.
   *
   * @throws NotFoundError when this agency has no such run.
   */
  async *follow(tenantId: string, runId: string, after: number, signal: AbortSignal): AsyncGenerator<FeedItem> {
    const stop = AbortSignal.any([signal, this.stopping.signal]);
    let told = after;
    let spokeAt = performance.now();
    let toldEnd = false;
    while (!stop.aborted) {
      const news = this.next(runId, stop);
      // The state is read first: events that came before a final one are then all there.
      const { state, events } = await this.work.tenant(tenantId, async (tx) => ({
        state: await this.runs.state(tx, runId),
        events: await this.runs.events(tx, runId, told),
      }));
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
      await news;
    }
  }

  /** Resolves when the run is heard of, after a second, or when told to stop; begins to listen at once. */
  private next(runId: string, stop: AbortSignal): Promise<void> {
    const done = new AbortController();
    const wakes = this.waiting.get(runId) ?? new Set();
    const wake = (): void => done.abort();
    this.waiting.set(runId, wakes.add(wake));
    return delay(LOOK_EVERY_MS, undefined, { signal: AbortSignal.any([done.signal, stop]) })
      .catch(() => undefined)
      .finally(() => {
        wakes.delete(wake);
        if (wakes.size === 0 && this.waiting.get(runId) === wakes) this.waiting.delete(runId);
      });
  }
}
