import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { allowExitOrder, rotateKeysOrder } from '#contracts/archive';
import type { Actor } from '#libs/audit/control';
import { Clock } from '#libs/platform/clock';
import type { TenantTransaction } from '#libs/platform/database';
import { fetching } from './held-password.js';
import { ArchiveOrders } from '../archives/archive-orders.js';
import { ArchiveRecord } from '../archives/archive-record.js';
import { Archives } from '../archives/archive.service.js';

export interface KeyUseView {
  readonly id: string;
  readonly purpose: string;
  readonly at: Date;
  /** For the next page's cursor. */
  readonly atText: string;
}

export interface RotationView {
  readonly rotationId: string;
  /** What the person at the agent's machine must do once the keys are changed; null where nothing is left to do. */
  readonly next: string | null;
}

export interface ExitView {
  readonly exitId: string;
  readonly until: Date;
}

/** The keys of archives: who used them, new ones, and the way out with stock restic. */
@Injectable()
export class Keys {
  constructor(
    private readonly archives: Archives,
    private readonly archiveOrders: ArchiveOrders,
    private readonly record: ArchiveRecord,
    private readonly clock: Clock,
  ) {}

  /**
   * New passwords for site and agent, the old ones removed from the repository. One that the agency alone holds is made by
   * its agent, which the site asks: people are told once it is done, and what to do then.
   *
   * @throws NotFoundError, ArchiveEndingError
   */
  async rotate(tx: TenantTransaction, archiveId: string, actor: Actor): Promise<RotationView> {
    const archive = await this.archives.holdOpen(tx, archiveId);
    const rotationId = randomUUID();
    await this.archiveOrders.give(tx, archive, rotateKeysOrder, { rotationId });
    await this.record.did(tx, archive, actor, 'archive.keys-rotation-asked', { rotationId });
    return { rotationId, next: archive.keyMode === 'customer-held' ? fetching(archive.workloadName) : null };
  }

  /** Each opening of a key at the site, the newest first; `limit + 1` at most. @throws NotFoundError */
  async uses(
    tx: TenantTransaction,
    archiveId: string,
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<KeyUseView[]> {
    await this.archives.get(tx, archiveId);
    return tx.query<KeyUseView>(
      `SELECT id, purpose, at, at::text AS "atText" FROM archive_key_use WHERE tenant_id = $1 AND archive_id = $2
          AND ($3::timestamptz IS NULL OR (at, id) < ($3, $4::uuid))
        ORDER BY at DESC, id DESC LIMIT $5`,
      [tx.tenantId, archiveId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
  }

  /**
   * For so many hours the person at the agent's machine may have a credential that reads the whole archive, and with an
   * escrowed key a password. Also of an archive that is ending: leaving is possible as long as something is there.
   *
   * @throws NotFoundError
   */
  async allowExit(tx: TenantTransaction, archiveId: string, hours: number, actor: Actor): Promise<ExitView> {
    const archive = await this.archives.hold(tx, archiveId);
    const exitId = randomUUID();
    const until = new Date(this.clock.now().getTime() + hours * 3_600_000);
    await this.archiveOrders.give(tx, archive, allowExitOrder, { exitId, until: until.toISOString() });
    await this.record.tell(tx, archive, {
      kind: 'archives.exit-allowed',
      eachText: true,
      severity: 'warning',
      title: `${archive.workloadName}: the whole archive may be copied out`,
      text: `${actor.name} allowed that the archive of ${archive.workloadName} be read with a stock restic from the agent's machine until ${until.toISOString()}. If nobody is leaving, revoke the agent and look at who has access to its machine.`,
    });
    await this.record.did(tx, archive, actor, 'archive.exit-allowed', { exitId, until: until.toISOString(), hours });
    return { exitId, until };
  }
}
