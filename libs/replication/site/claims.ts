import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { isAlive } from '#libs/platform/postgres';

/** How long a claim outlives a process that died with it. A living one renews it every second. */
const CLAIM_SECONDS = 5;

export interface HoldOptions {
  /** Whoever has it in this process is told to let go, and waited for. Without it, a held claim is not ours to work on. */
  readonly preempt?: boolean;
  readonly signal?: AbortSignal;
}

interface Held {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  readonly end: () => void;
}

/** Thrown into work whose claim somebody with more right has asked for, or that was lost. */
export class ClaimLostError extends Error {
  constructor(readonly key: string) {
    super(`the claim on ${key} was given up`);
    this.name = 'ClaimLostError';
  }
}

/**
 * Who works on what: at most one piece of work for each key, in all processes of this site. A claim is a row with an end,
 * so that nothing waits for a connection of a process that is gone.
 */
@Injectable()
export class Claims implements OnModuleInit, OnApplicationShutdown {
  private readonly holder = randomUUID();
  private readonly held = new Map<string, Held>();
  private renewal: NodeJS.Timeout | undefined;

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly logger: AppLogger,
  ) {}

  onModuleInit(): void {
    this.renewal = setInterval(() => void this.renew(), 1_000);
    this.renewal.unref();
  }

  onApplicationShutdown(): void {
    clearInterval(this.renewal);
    for (const { abort } of this.held.values()) abort.abort(new Error('this process is stopping'));
  }

  /**
   * Runs `work` while nobody else has `key`.
   *
   * @returns undefined when another has it, without `preempt`
   */
  async hold<T>(
    key: string,
    work: (signal: AbortSignal) => Promise<T>,
    options: HoldOptions = {},
  ): Promise<T | undefined> {
    const abort = await this.take(key, options);
    if (!abort) return undefined;
    try {
      return await work(options.signal ? AbortSignal.any([abort.signal, options.signal]) : abort.signal);
    } finally {
      await this.release(key);
    }
  }

  private async take(key: string, options: HoldOptions): Promise<AbortController | undefined> {
    for (;;) {
      for (let other = this.held.get(key); other; other = this.held.get(key)) {
        if (!options.preempt) return undefined;
        other.abort.abort(new ClaimLostError(key));
        await other.ended;
      }
      // Entered before the round trip, so that two callers of this process cannot both see it free.
      const abort = new AbortController();
      let end: () => void = () => undefined;
      const ended = new Promise<void>((resolve) => (end = resolve));
      this.held.set(key, { abort, ended, end });
      const taken = await this.write(key).catch((error: unknown) => {
        this.forget(key);
        throw error;
      });
      if (taken) return abort;
      this.forget(key);
      if (!options.preempt) return undefined;
      // Another process's claim, most likely a dead one's: it ends by itself within seconds.
      await delay(100, undefined, options.signal ? { signal: options.signal } : {});
    }
  }

  private async write(key: string): Promise<boolean> {
    return this.work.run(async (tx) => {
      await this.dropDead(tx, key);
      const rows = await tx.query(
        `INSERT INTO work_claim (key, holder, host, pid, until)
         VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
         ON CONFLICT (key) DO UPDATE
           SET holder = excluded.holder, host = excluded.host, pid = excluded.pid, until = excluded.until
           WHERE work_claim.until < clock_timestamp() OR work_claim.holder = excluded.holder
         RETURNING key`,
        [key, this.holder, hostname(), process.pid, CLAIM_SECONDS],
      );
      return rows.length === 1;
    });
  }

  /** A process of this host that is no more cannot be at work: its claim need not run out first. */
  private async dropDead(tx: SiteTransaction, key: string): Promise<void> {
    const [other] = await tx.query<{ holder: string; pid: number }>(
      'SELECT holder, pid FROM work_claim WHERE key = $1 AND holder <> $2 AND host = $3',
      [key, this.holder, hostname()],
    );
    if (!other || other.pid === process.pid || (await isAlive(other.pid))) return;
    await tx.execute('DELETE FROM work_claim WHERE key = $1 AND holder = $2', [key, other.holder]);
  }

  private forget(key: string): void {
    const held = this.held.get(key);
    this.held.delete(key);
    held?.end();
  }

  private async release(key: string): Promise<void> {
    try {
      await this.work.run((tx) =>
        tx.execute('DELETE FROM work_claim WHERE key = $1 AND holder = $2', [key, this.holder]),
      );
    } catch (error) {
      this.logger.log.warn({ err: error, key }, 'a claim was not given back; it runs out by itself');
    }
    // Last, so that the next holder's row is not the one that was deleted.
    this.forget(key);
  }

  private async renew(): Promise<void> {
    const keys = [...this.held.keys()];
    if (keys.length === 0) return;
    try {
      const kept = await this.work.run((tx) =>
        tx.query<{ key: string }>(
          `UPDATE work_claim SET until = clock_timestamp() + make_interval(secs => $3)
            WHERE key = ANY($1) AND holder = $2 RETURNING key`,
          [keys, this.holder, CLAIM_SECONDS],
        ),
      );
      const mine = new Set(kept.map((row) => row.key));
      for (const key of keys) {
        if (!mine.has(key)) await this.lost(key);
      }
    } catch (error) {
      this.logger.log.warn({ err: error }, 'claims could not be renewed');
    }
  }

  /** Only when the row really is another's: it may just have been given back, or not yet be written. */
  private async lost(key: string): Promise<void> {
    const rows = await this.work.run((tx) =>
      tx.query('SELECT FROM work_claim WHERE key = $1 AND holder <> $2', [key, this.holder]),
    );
    if (rows.length > 0) this.held.get(key)?.abort.abort(new ClaimLostError(key));
  }
}
