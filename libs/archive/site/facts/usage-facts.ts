import { Injectable } from '@nestjs/common';
import { archiveUsageResult, type UsageKind } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import type { SiteTransaction } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { derivedId } from '../work-ids.js';

type Owned = Pick<ArchiveRow, 'archiveId' | 'workloadId' | 'tenantId'>;
interface Timed {
  readonly workId: string;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

/** An interval of stored bytes is told after so long, though nothing has changed. */
const DAILY_MS = 86_400_000;
/** In the ids of facts: the two sites of an archive never make the same one. */
const FACT_OF = { 'archive.stored-bytes': 'stored', 'archive.copy-stored-bytes': 'copy-stored' } as const;

/** Facts for billing, as the vault measures them: whatever dies, each is told once, and intervals leave no gap. */
@Injectable()
export class UsageFacts {
  constructor(
    private readonly outbox: SiteOutbox,
    private readonly clock: Clock,
  ) {}

  /** What the repository grew by in a run, in bytes. */
  async ingested(tx: SiteTransaction, archive: Owned, run: Timed, bytes: number): Promise<void> {
    if (bytes > 0) await this.moment(tx, archive, 'archive.ingested-bytes', run, bytes);
  }

  async restored(tx: SiteTransaction, archive: Owned, restore: Timed, bytes: number): Promise<void> {
    if (bytes > 0) await this.moment(tx, archive, 'archive.restored-bytes', restore, bytes);
  }

  /** What it stores now: ends the interval before where that was another number, or a day long, and begins the next. */
  async stored(tx: SiteTransaction, archive: Owned, bytes: number): Promise<void> {
    await this.held(tx, archive, bytes, 'archive.stored-bytes');
  }

  /** The same of a copy that this site keeps for another one; null: it is gone. */
  async copyStored(tx: SiteTransaction, copy: Owned, bytes: number | null): Promise<void> {
    await this.held(tx, copy, bytes ?? 0, 'archive.copy-stored-bytes');
    // Kept again, its next interval begins then.
    if (bytes === null) await tx.execute(`DELETE FROM archive_stored WHERE archive_id = $1`, [copy.archiveId]);
  }

  private async held(
    tx: SiteTransaction,
    archive: Owned,
    bytes: number,
    kind: 'archive.stored-bytes' | 'archive.copy-stored-bytes',
  ): Promise<void> {
    const [held] = await tx.query<{ bytes: number; since: Date }>(
      `SELECT bytes::float8 AS bytes, since FROM archive_stored WHERE archive_id = $1 FOR UPDATE`,
      [archive.archiveId],
    );
    const now = this.clock.now();
    if (held) {
      if (now.getTime() <= held.since.getTime()) return;
      if (held.bytes === bytes && now.getTime() - held.since.getTime() < DAILY_MS) return;
      await this.emit(tx, archive, {
        kind,
        factId: derivedId(archive.archiveId, FACT_OF[kind], held.since.toISOString()),
        amount: held.bytes,
        from: held.since,
        to: now,
      });
    }
    await tx.execute(
      `INSERT INTO archive_stored (archive_id, bytes, since) VALUES ($1, $2, $3)
       ON CONFLICT (archive_id) DO UPDATE SET bytes = excluded.bytes, since = excluded.since`,
      [archive.archiveId, bytes, now],
    );
  }

  private async moment(
    tx: SiteTransaction,
    archive: Owned,
    kind: 'archive.ingested-bytes' | 'archive.restored-bytes',
    { workId, startedAt, endedAt }: Timed,
    amount: number,
  ): Promise<void> {
    const to = endedAt ?? this.clock.now();
    await this.emit(tx, archive, { kind, factId: derivedId(workId, kind), amount, from: startedAt ?? to, to });
  }

  private async emit(
    tx: SiteTransaction,
    { archiveId, workloadId, tenantId }: Owned,
    fact: { kind: UsageKind; factId: string; amount: number; from: Date; to: Date },
  ): Promise<void> {
    const payload = {
      ...fact,
      archiveId,
      workloadId,
      from: fact.from.toISOString(),
      to: fact.to.toISOString(),
    };
    await this.outbox.emit(tx, archiveUsageResult, { tenantId }, payload);
  }
}
