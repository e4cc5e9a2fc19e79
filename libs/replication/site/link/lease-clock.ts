import { Injectable } from '@nestjs/common';
import { LEASE_MARGIN_SECONDS } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { GRANT_SECONDS } from './pulse-requests.js';

/** Beyond what the answers' own duration explains. */
const TOLERATED_SECONDS = 1;

interface Reading {
  /** Seconds since the epoch, by the database. */
  readonly database: number;
  /** Seconds by this process, in the middle of the query. */
  readonly monotonic: number;
  /** Half of the query's duration: how far the two may be apart. */
  readonly uncertain: number;
}

/**
 * Notices when the database's clock was set while leases run, by comparing it with this process's monotonic clock. A
 * lease must depend on the rates of clocks only: so after a jump nobody is believed to be armed until the next pulse,
 * and a degrade receiver that may have lived is believed to live for as long as a grant lasts.
 */
@Injectable()
export class LeaseClock {
  private last: Reading | undefined;

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly logger: AppLogger,
  ) {}

  /** To be called about once a second. Answers the seconds that the clock has jumped since the last call, 0 for none. */
  async check(): Promise<number> {
    const before = performance.now();
    const [row] = await this.work.run((tx) =>
      tx.query<{ now: number }>(`SELECT extract(epoch FROM clock_timestamp())::float8 AS now`),
    );
    const after = performance.now();
    if (!row) return 0;
    return this.compare({
      database: row.now,
      monotonic: (before + after) / 2_000,
      uncertain: (after - before) / 2_000,
    });
  }

  /** Takes a reading in. @returns the jump in seconds, 0 for none. */
  async compare(reading: Reading): Promise<number> {
    const { last } = this;
    this.last = reading;
    if (!last) {
      // The clock may have been set while nobody looked.
      await this.endLeases(Number.MAX_SAFE_INTEGER / 1e6);
      return 0;
    }
    const jump = reading.database - last.database - (reading.monotonic - last.monotonic);
    if (Math.abs(jump) <= TOLERATED_SECONDS + reading.uncertain + last.uncertain) return 0;
    this.logger.log.error({ seconds: jump }, "the database's clock was set: armed leases end now");
    await this.endLeases(jump);
    return jump;
  }

  private async endLeases(jump: number): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE armed_lease
            SET armed_until = least(armed_until, clock_timestamp()),
                degrade_until = CASE WHEN degrade_until > clock_timestamp() - make_interval(secs => greatest(0, $1::float8))
                  THEN clock_timestamp() + make_interval(secs => $2) ELSE degrade_until END`,
        [jump, GRANT_SECONDS + LEASE_MARGIN_SECONDS],
      ),
    );
  }
}
