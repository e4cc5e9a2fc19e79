import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { ArchiveKeys } from '../keys/archive-keys.js';
import { Adoption } from '../points/adoption.js';
import { StandingCopies } from '../standing/standing-copies.js';
import { Tellings } from './tellings.js';

/** What comes of time going by, not of an order or a run: found by a sweep, each archive's for itself. */
@Injectable()
export class ArchiveFacts {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly tellings: Tellings,
    private readonly adoption: Adoption,
    private readonly standing: StandingCopies,
    private readonly keys: ArchiveKeys,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  async sweep(signal: AbortSignal): Promise<void> {
    const archives = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(
        `SELECT archive_id AS "archiveId" FROM archive WHERE state <> 'ended' ORDER BY archive_id`,
      ),
    );
    for (const { archiveId } of archives) {
      if (signal.aborted) return;
      await this.each(archiveId, 'facts', () => this.tellings.look(archiveId, this.clock.now()));
      await this.each(archiveId, 'points', () => this.adoption.adopt(archiveId, signal));
    }
    const copies = await this.work.run((tx) =>
      tx.query<{ archiveId: string }>(`SELECT archive_id AS "archiveId" FROM archive_kept_copy ORDER BY archive_id`),
    );
    for (const { archiveId } of copies) {
      if (signal.aborted) return;
      await this.each(archiveId, 'copy', () => this.tellings.lookAtCopy(archiveId));
    }
    await this.standing.wakeDue();
  }

  /** At the start: whoever exchanges the key-encryption key restarts the site with the new one. */
  async sealAnew(): Promise<void> {
    try {
      const count = await this.keys.sealAnew();
      if (count > 0) this.logger.log.info({ count }, 'passwords were sealed under the new key-encryption key');
    } catch (error) {
      this.logger.log.error({ reason: errorText(error) }, 'passwords could not be sealed under the new key');
    }
  }

  private async each(archiveId: string, what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.logger.log.warn({ archiveId, what, reason: errorText(error) }, 'a look at an archive failed');
    }
  }
}
