import { setTimeout as delay } from 'node:timers/promises';
import type { ReplicationNames } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import type { Clock } from '#libs/platform/clock';
import { quoteLiteral, type PostgresClient } from '#libs/platform/postgres';
import type { KeptConnection } from './connection.js';
import { underNamesLock } from './names-lock.js';
import { ledBy, type Sample, synchronousNames } from './sample.js';
import type { Arming } from './armed.js';

const CHANGE_MS = 5_000;
const LOOK_MS = 20;
/** A setting that was written but not loaded for so long is nobody's change any more: whoever made it died. */
const LEFT_OVER_MS = 3_000;
/** A walsender reads a changed setting at once; one that has not by then is ended, and its site comes back by itself. */
const STALE_MS = 1_000;
const TERMINATE_EVERY_MS = 3_000;

/**
 * Makes the other site the synchronous one in the server: one ALTER SYSTEM and a reload, straight from the one form to the
 * other, so that COMMIT waits for one of the two at every moment. It is durable with the ALTER SYSTEM and in force with
 * the reload; while the two differ nobody is armed, so a process that dies in between leaves no false word behind.
 */
export class LeaderChange {
  private running = false;
  private endedAt = 0;
  private differsSince: number | undefined;
  private staleSince: number | undefined;
  private terminatedAt = -Infinity;

  constructor(
    private readonly connection: KeptConnection,
    private readonly clock: Clock,
  ) {}

  /** From the decision until it is done: nobody may answer "armed" meanwhile. */
  get underWay(): boolean {
    return this.running;
  }

  /** Monotonic milliseconds since when none runs: a look from before proves nothing. */
  get quietSince(): number {
    return this.endedAt;
  }

  /** Begins at once, and is over whatever comes of it: the next look says what holds, and it is begun anew. */
  begin(from: SiteRole, to: SiteRole, names: ReplicationNames): void {
    this.run(async (client) => {
      if (ledBy(await shown(client), names) !== from) return;
      await client.query(`ALTER SYSTEM SET synchronous_standby_names = ${quoteLiteral(synchronousNames(names, to))}`);
      await client.query('SELECT pg_reload_conf()');
      const until = this.clock.monotonic() + CHANGE_MS / 2;
      while (ledBy(await shown(client), names) !== to && this.clock.monotonic() < until) await delay(LOOK_MS);
    });
  }

  /** What a dead process has left half done, and walsenders that did not hear of a change. */
  tidy(sample: Sample, { leader, stale }: Arming, names: ReplicationNames): void {
    const now = this.clock.monotonic();
    const filed = ledBy(sample.filedNames, names);
    const differs = leader !== null && filed !== null && filed !== leader && !sample.namesLocked && !this.running;
    this.differsSince = differs ? (this.differsSince ?? now) : undefined;
    if (differs && now - (this.differsSince ?? now) >= LEFT_OVER_MS) this.takeBack(leader, names);
    this.staleSince = stale.length > 0 ? (this.staleSince ?? now) : undefined;
    if (this.staleSince !== undefined && now - this.staleSince >= STALE_MS) this.terminate(stale.map(({ pid }) => pid));
  }

  /** Ends walsenders, at most every three seconds; one that could not be ended is tried again. */
  terminate(processIds: readonly number[]): void {
    const now = this.clock.monotonic();
    if (now - this.terminatedAt < TERMINATE_EVERY_MS) return;
    this.terminatedAt = now;
    void this.connection
      .query('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid', 2_000, [[...processIds]])
      // The next look finds a walsender that is still there, and it is tried again.
      .catch(() => undefined);
  }

  /** What holds stays: a later reload must not change it behind everybody's back. */
  private takeBack(leader: SiteRole, names: ReplicationNames): void {
    this.run(async (client) => {
      if (ledBy(await shown(client), names) !== leader) return;
      const wanted = quoteLiteral(synchronousNames(names, leader));
      await client.query(`ALTER SYSTEM SET synchronous_standby_names = ${wanted}`);
    });
  }

  private run(work: (client: PostgresClient) => Promise<void>): void {
    if (this.running) return;
    this.running = true;
    void this.connection
      .session(CHANGE_MS, (client) => underNamesLock(client, () => work(client)))
      // The next look says what came of it.
      .catch(() => undefined)
      .finally(() => {
        this.running = false;
        this.endedAt = this.clock.monotonic();
      });
  }
}

async function shown(client: PostgresClient): Promise<string> {
  const { rows } = await client.query<{ value: string }>(
    "SELECT current_setting('synchronous_standby_names') AS value",
  );
  return rows[0]?.value ?? '';
}
