import { Injectable } from '@nestjs/common';
import { bringBackOrder, DROPPED_MAX } from '#contracts/archive';
import type { TenantTransaction } from '#libs/platform/database';
import { Orders } from '#libs/sites/control';
import type { TenantCaller } from '#libs/tenancy/control';
import { ArchiveEndedError } from '../archive.errors.js';
import { ArchiveRecord } from './archive-record.js';
import { Archives } from './archive.service.js';
import { requireAuthority } from './persons.js';

export interface RemovalsUndone {
  readonly since: Date;
  readonly keys: boolean;
}

/** What was removed from archives, by whomever: sites keep it for some days. */
@Injectable()
export class ArchiveRemovals {
  constructor(
    private readonly archives: Archives,
    private readonly orders: Orders,
    private readonly record: ArchiveRecord,
  ) {}

  /**
   * Has each site of the archive bring back what was removed there since then. It takes a person with the authority: what
   * retention has let go comes back too. What two people dropped does not.
   *
   * @param keys whether removed keys come back too, and with them the passwords that open them
   *
   * @throws NotFoundError, ArchiveEndedError, PersonNeededError, AuthorityNeededError
   */
  async undo(
    tx: TenantTransaction,
    archiveId: string,
    { since, keys }: RemovalsUndone,
    caller: TenantCaller,
  ): Promise<RemovalsUndone> {
    const { state } = await this.archives.get(tx, archiveId);
    requireAuthority(caller);
    // Its workload may have been removed since.
    if (state === 'ended') throw new ArchiveEndedError();
    const archive = await this.archives.hold(tx, archiveId);
    if (archive.state === 'ended') throw new ArchiveEndedError();
    const { tenantId, workloadId, workloadName: name } = archive;
    // Left out where there is nothing to say: a site that was not updated yet does not know it.
    const wish = { archiveId, workloadId, since: since.toISOString(), ...(keys ? { keys } : {}) };
    const dropped = await this.dropped(tx, archiveId);
    for (const siteId of [archive.siteId, archive.secondSiteId]) {
      if (siteId === null) continue;
      const copy = siteId === archive.secondSiteId;
      const payload = { ...wish, ...(copy && dropped.length > 0 ? { dropped } : {}) };
      await this.orders.issue(tx, { siteId, tenantId, contract: bringBackOrder, payload });
    }
    await this.record.did(tx, archive, caller.actor, 'archive.removals-undone', { since: since.toISOString(), keys });
    await this.record.tell(tx, archive, {
      kind: 'archives.removals-undone',
      eachText: true,
      severity: 'information',
      title: `${name}: what was removed from the archive is brought back`,
      text: `${caller.actor.name} asked that all that was removed from the archive of ${name} since ${since.toISOString()} be brought back, at each site that keeps it. ${keys ? 'So are keys: passwords from before a change of the keys open the archive again.' : 'Removed keys stay gone.'} Retention then looks at it anew: hold what must stay.`,
      about: { since: since.toISOString() },
    });
    return { since, keys };
  }

  /** Only what two people said, as it is written down here: a site's word keeps nothing away from the other one. */
  private async dropped(tx: TenantTransaction, archiveId: string): Promise<string[]> {
    const rows = await tx.query<{ id: string }>(
      `SELECT p.snapshot_id AS id FROM drop_request d
         JOIN recovery_point p ON p.tenant_id = d.tenant_id AND p.id = d.point_id
        WHERE d.tenant_id = $1 AND p.archive_id = $2 AND d.state = 'done'
        ORDER BY d.finished_at DESC LIMIT $3`,
      [tx.tenantId, archiveId, DROPPED_MAX],
    );
    return rows.map(({ id }) => id);
  }
}
