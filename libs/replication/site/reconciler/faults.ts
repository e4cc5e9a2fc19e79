import { Inject, Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorCode, type ErrorKind } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { DiskFullError, SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { isFull } from '../disk.js';
import { StandbyChangedError } from '../replication.errors.js';
import type { Standby } from '../standby.row.js';
import { mayBecome } from '../standby.states.js';
import { Standbys } from '../standbys.service.js';

/** Faults that stay until something else changes; the others are the line's and mend by themselves. */
const STANDING: ReadonlySet<ErrorKind> = new Set<ErrorKind>([
  'invalid',
  'unprocessable',
  'precondition',
  'conflict',
  'forbidden',
  'not-found',
]);
const LONGEST_PAUSE_SECONDS = 30;
const LONGEST_STANDING_PAUSE_SECONDS = 300;

/** Writes down why a standby does not get on, and when it is tried again. */
@Injectable()
export class Faults {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  async record(workloadId: string, error: unknown): Promise<void> {
    this.logger.log.warn({ err: error, workloadId }, 'a standby does not get on');
    const cause = await this.explained(error);
    try {
      await this.work.run(async (tx) => {
        const standby = await this.standbys.find(tx, workloadId);
        if (standby) await this.standbys.change(tx, standby, this.step(standby, cause));
      });
    } catch (failure) {
      if (!(failure instanceof StandbyChangedError)) throw failure;
    }
  }

  /** A full disk fails in many ways, a server that stops among them; what a person must know is one thing. */
  private async explained(error: unknown): Promise<unknown> {
    if (error instanceof DiskFullError) return error;
    if (errorCode(error) !== 'ENOSPC' && !(await this.isDiskFull())) return error;
    return new DiskFullError(undefined, undefined, { cause: error });
  }

  private async isDiskFull(): Promise<boolean> {
    try {
      return isFull(await this.driver.capacity());
    } catch (error) {
      // It must not keep the fault itself from being written down, and tried again with pauses.
      this.logger.log.warn({ err: error }, "the site's disk could not be asked");
      return false;
    }
  }

  private step(standby: Standby, error: unknown) {
    const retries = standby.retries + 1;
    const standing = error instanceof DomainError && STANDING.has(error.kind);
    const longest = standing ? LONGEST_STANDING_PAUSE_SECONDS : LONGEST_PAUSE_SECONDS;
    const pause = wantedPause(error) ?? Math.min(2 ** Math.min(retries, 9), longest);
    const changes = { retries, retryAt: new Date(this.clock.now().getTime() + pause * 1_000) };
    const broken = standing && mayBecome(standby.state, 'broken') ? ({ state: 'broken' } as const) : {};
    return { ...broken, reason: reasonOf(error), changes };
  }
}

/** What waits for something that is on its way says itself when to look again. */
function wantedPause(error: unknown): number | undefined {
  const wanted = error instanceof DomainError ? error.facts['retryAfterSeconds'] : undefined;
  return typeof wanted === 'number' ? wanted : undefined;
}

/** `code: text`, both public. What is no error of ours may name hosts and paths, and stays in the log. */
export function reasonOf(error: unknown): string {
  if (error instanceof DomainError) return `${error.code}: ${error.message}`;
  return 'internal: Something failed at the site, and is tried again. The log of the site has the details.';
}
