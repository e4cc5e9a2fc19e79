import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';

/** More than what a busy database's answer can be late by. */
const TOLERATED_SECONDS = 1;

/**
 * Notices when the database's clock was set while leases run, by comparing it with this process's monotonic clock. A
 * lease must depend on the rates of clocks only: so after a jump nobody is believed to be armed until the next pulse,
 * and a degrade receiver is believed to live for as long as it was before.
 */
@Injectable()
export class LeaseClock {
  private last: { readonly database: number; readonly monotonic: number } | undefined;

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly logger: AppLogger,
  ) {}

  /** To be called about once a second. Answers the seconds that the clock has jumped since the last call, 0 for none. */
  async check(): Promise<number> {
    return this.work.run(async (tx) => {
      const before = performance.now();
      const [row] = await tx.query<{ now: number }>(`SELECT extract(epoch FROM clock_timestamp())::float8 AS now`);
      const seen = { database: row?.now ?? 0, monotonic: (before + performance.now()) / 2_000 };
      const jump = this.last ? seen.database - this.last.database - (seen.monotonic - this.last.monotonic) : 0;
      this.last = seen;
      if (Math.abs(jump) <= TOLERATED_SECONDS) return 0;
      this.logger.log.error({ seconds: jump }, "the database's clock was set: armed leases end now");
      await tx.execute(
        `UPDATE armed_lease SET armed_until = least(armed_until, clock_timestamp()),
                degrade_until = degrade_until + make_interval(secs => greatest(0, $1::float8))`,
        [jump],
      );
      return jump;
    });
  }
}
