import { Inject, Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText, NotFoundError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { ARCHIVE_SETTINGS, type ArchiveSettings } from '../archive-settings.js';
import { Archives } from '../archives.service.js';
import { markReturned } from '../points/forgotten.js';
import { Points } from '../points/points.service.js';
import { objectLabel } from '../vault/object-names.js';
import type { LaidAside } from '../vault/storage.js';
import { VaultService } from '../vault/vault.module.js';
import { VaultRepositories } from '../vault/vault-repositories.service.js';

/** Long enough for people to be told, to look, and to act across a weekend. */
const KEPT_DAYS = 7;
const DAY_MS = 86_400_000;

/** Something removes objects at this moment; its credential has been ended. */
export class RemovalAtWorkError extends DomainError {
  constructor() {
    super('unavailable', 'archive.removal-at-work', 'Objects are being removed at this moment. It is tried again.');
  }
}

/** What was removed from a repository, by whomever: brought back at people's word, or gone for good after some days. */
@Injectable()
export class BringingBack {
  constructor(
    @Inject(ARCHIVE_SETTINGS) private readonly settings: ArchiveSettings,
    private readonly work: SiteUnitOfWork,
    private readonly vault: VaultService,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly repositories: VaultRepositories,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Undoes removals since then, of an archive or of a copy that this site keeps. Whoever removes now is shut out
   * first, and nobody begins to until it is done. What
   * two people dropped stays gone, and so does what was no part of the archive. Safe to repeat.
   *
   * @param keys whether keys come back too: with one that a rotation has replaced, an old password opens the repository again
   * @param dropped snapshots that two people dropped; those of an archive of this site are known here
   *
   * @throws NotFoundError, RemovalAtWorkError while something still removes: to be tried again
   */
  async bringBack(
    repositoryId: string,
    tenantId: string,
    since: Date,
    { keys = false, dropped = [] }: { readonly keys?: boolean; readonly dropped?: readonly string[] } = {},
  ): Promise<void> {
    const stay = await this.work.run(async (tx) => {
      const [own] = await tx.query(`SELECT FROM vault_repository WHERE repository_id = $1 AND tenant_id = $2`, [
        repositoryId,
        tenantId,
      ]);
      if (!own) throw new NotFoundError('archive');
      const rows = await tx.query<{ object: string }>(
        `SELECT 'snapshots/' || snapshot_id AS object FROM archive_point
          WHERE archive_id = $1 AND forgotten_because = 'two-people'
          UNION SELECT object FROM archive_junk WHERE archive_id = $1`,
        [repositoryId],
      );
      return new Set([...rows.map(({ object }) => object), ...dropped.map((id) => `snapshots/${id}`)]);
    });
    const wanted = ({ name }: LaidAside): boolean => (name.type !== 'keys' || keys) && !stay.has(objectLabel(name));
    // Packs are back before an index names them: a prune in between would take them again.
    const bringAll = async (): Promise<void> => {
      await this.checkNobodyRemoves(repositoryId);
      const returned = await this.vault.removed.bringBack(repositoryId, since, wanted);
      await this.tellReturned(repositoryId, since);
      const objects = returned.length;
      this.logger.log.warn({ repositoryId, since, keys, objects }, 'what was removed has been brought back');
    };
    await this.repositories.withoutRemovals(repositoryId, bringAll, () => new RemovalAtWorkError());
  }

  /** Ends for good what was removed long enough ago, but nothing of a repository under a hold. */
  async sweep(now: Date, signal: AbortSignal): Promise<void> {
    const before = new Date(now.getTime() - (this.settings.vault.keepRemovedDays ?? KEPT_DAYS) * DAY_MS);
    for (const repository of await this.vault.repositories()) {
      if (signal.aborted) return;
      try {
        // Of each just before: a hold may come while much is cleared of others.
        if (await this.isHeld(repository)) continue;
        const objects = await this.vault.removed.discardBefore(repository, before, signal);
        if (objects > 0) this.logger.log.info({ repository, objects }, 'what was removed days ago is gone for good');
      } catch (error) {
        this.logger.log.error({ repository, reason: errorText(error) }, 'what was removed could not be cleared');
      }
    }
  }

  /** What was shut out in the midst of it has yet to end: it would write down that points are gone. */
  private async checkNobodyRemoves(repositoryId: string): Promise<void> {
    const [removing] = await this.work.run((tx) =>
      tx.query(
        `SELECT FROM archive
          WHERE archive_id = $1 AND work_kind IN ('retention', 'prune') AND work_until > clock_timestamp()`,
        [repositoryId],
      ),
    );
    if (removing) throw new RemovalAtWorkError();
  }

  private async isHeld(repositoryId: string): Promise<boolean> {
    const held = await this.work.run((tx) =>
      tx.query(`SELECT FROM vault_repository WHERE repository_id = $1 AND held_because IS NOT NULL`, [repositoryId]),
    );
    return held.length > 0;
  }

  /** Points that were said to be gone, and whose snapshots are there: retention looks at them anew. */
  private async tellReturned(archiveId: string, since: Date): Promise<void> {
    const gone = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT snapshot_id AS id FROM archive_point
          WHERE archive_id = $1 AND forgotten_at >= $2 AND forgotten_because <> 'two-people'`,
        [archiveId, since],
      ),
    );
    const there: string[] = [];
    for (const { id } of gone) {
      if (await this.vault.objects.stat(archiveId, { type: 'snapshots', id })) there.push(id);
    }
    await this.work.run(async (tx) => {
      for (const snapshotId of there) await markReturned(tx, this.points, archiveId, snapshotId);
      await this.archives.tell(tx, archiveId);
    });
  }
}
