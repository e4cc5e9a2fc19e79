import { Injectable } from '@nestjs/common';
import { dropResult, type Failure } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { markForgotten } from '../points/forgotten.js';
import { Points } from '../points/points.service.js';
import { Maintenance } from './maintenance.js';

interface Drop {
  readonly dropId: string;
  readonly snapshotId: string;
}
type Verdict = { readonly state: 'done' | 'retained' | 'failed'; readonly failure: Failure | null };

const DONE: Verdict = { state: 'done', failure: null };
const retained = (message: string): Verdict => ({ state: 'retained', failure: { code: 'archive.retained', message } });

/** Recovery points that two people want gone before their time. Holds and the vault's minimum age are stronger than both. */
@Injectable()
export class Drops {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly points: Points,
    private readonly maintenance: Maintenance,
    private readonly outbox: SiteOutbox,
    private readonly clock: Clock,
  ) {}

  /** Safe to repeat. */
  async add(
    tx: SiteTransaction,
    drop: Drop & { readonly archiveId: string; readonly asked: string; readonly approved: string },
  ): Promise<void> {
    await tx.execute(
      `INSERT INTO archive_drop (drop_id, archive_id, snapshot_id, asked, approved) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT DO NOTHING`,
      [drop.dropId, drop.archiveId, drop.snapshotId, drop.asked, drop.approved],
    );
  }

  /** To be called while the repository is nobody else's. What cannot be done now stays waiting. */
  async carryOut(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const waiting = await this.work.run((tx) =>
      tx.query<Drop>(
        `SELECT drop_id AS "dropId", snapshot_id AS "snapshotId" FROM archive_drop
          WHERE archive_id = $1 AND state = 'waiting' ORDER BY at`,
        [archive.archiveId],
      ),
    );
    for (const drop of waiting) {
      const verdict = await this.drop(archive, drop, signal);
      if (verdict) await this.finish(archive, drop, verdict);
    }
  }

  private async drop(archive: ArchiveRow, drop: Drop, signal: AbortSignal): Promise<Verdict | undefined> {
    const { archiveId } = archive;
    const forbidden = await this.work.run((tx) => this.forbidden(tx, archiveId, drop.snapshotId));
    if (forbidden) return forbidden;
    if ((await this.maintenance.forget(archive, [drop.snapshotId], signal)) === 'busy') return undefined;
    const there = await this.maintenance.present(archiveId, [drop.snapshotId]);
    return there.has(drop.snapshotId)
      ? retained('The vault has kept it. Its minimum age, or a hold, is not over.')
      : DONE;
  }

  private async forbidden(tx: SiteTransaction, archiveId: string, snapshotId: string): Promise<Verdict | undefined> {
    const point = await this.points.find(tx, archiveId, snapshotId);
    if (!point) return { state: 'failed', failure: { code: 'recovery-point.not-found', message: UNKNOWN } };
    const [terms] = await tx.query<{ seconds: number; heldBecause: string | null }>(
      `SELECT minimum_age_seconds AS seconds, held_because AS "heldBecause" FROM vault_repository
        WHERE repository_id = $1`,
      [archiveId],
    );
    if (point.heldBecause !== null) return retained(`It is held: ${point.heldBecause}. Lift the hold first.`);
    if (terms && terms.heldBecause !== null) return retained(`Nothing is removed: ${terms.heldBecause}.`);
    const until = new Date(point.receivedAt.getTime() + (terms?.seconds ?? 0) * 1_000);
    if (until <= this.clock.now()) return undefined;
    return retained(`Nothing is removed before its minimum age: ask again after ${until.toISOString()}.`);
  }

  private async finish(archive: ArchiveRow, { dropId, snapshotId }: Drop, verdict: Verdict): Promise<void> {
    const { archiveId, workloadId, tenantId } = archive;
    await this.work.run(async (tx) => {
      const ended = await tx.execute(`UPDATE archive_drop SET state = $2 WHERE drop_id = $1 AND state = 'waiting'`, [
        dropId,
        verdict.state,
      ]);
      if (ended === 0) return;
      if (verdict.state === 'done') await markForgotten(tx, this.points, archiveId, snapshotId, 'two-people');
      await this.outbox.emit(tx, dropResult, { tenantId }, { archiveId, workloadId, dropId, snapshotId, ...verdict });
    });
  }
}

const UNKNOWN = 'The archive has no such recovery point.';
