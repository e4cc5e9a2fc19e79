import type { ArchiveWork, WorkResult } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import type { VaultRole } from '../vault/vault-rules.js';
import type { WorkChange, WorkRow, WorkTable } from './work.row.js';

/** What runs and restores do differently. */
export interface WorkKindOf<R extends WorkRow> {
  readonly table: WorkTable<R>;
  readonly kind: 'run' | 'restore';
  /** Of the agent's credential. */
  role(archive: ArchiveRow): VaultRole;
  /** What takes long and must not in a transaction; called before {@link work} and {@link ended}. */
  prepare(archive: ArchiveRow): Promise<void>;
  /** What the agent shall do; called at each begin. */
  work(tx: SiteTransaction, archive: ArchiveRow, row: R): Promise<ArchiveWork>;
  /** Bytes a second that it may use now; null: as many as it can. */
  limit(archive: ArchiveRow): number | null;
  /** Tells the control plane all of the row. */
  tell(tx: SiteTransaction, archive: ArchiveRow, row: R): Promise<void>;
  /** What becomes of an end that the agent tells of: its state may be worse than the agent says, never better. */
  judge(tx: SiteTransaction, archive: ArchiveRow, row: R, result: WorkResult): Promise<WorkChange>;
  /** In the transaction of the end. */
  ended(tx: SiteTransaction, archive: ArchiveRow, row: R): Promise<void>;
}

/** Whose turn it is: restores come before runs, since a person waits for them; otherwise whoever came first. */
export async function isNext<R extends WorkRow>(tx: SiteTransaction, kind: WorkKindOf<R>, row: R): Promise<boolean> {
  const [before] = await tx.query(
    kind.kind === 'restore'
      ? `SELECT FROM archive_restore mine JOIN archive_restore other USING (archive_id)
          WHERE mine.restore_id = $1 AND other.state = 'waiting'
            AND (other.created_at, other.restore_id) < (mine.created_at, mine.restore_id) LIMIT 1`
      : `SELECT FROM archive_run mine
          WHERE mine.run_id = $1 AND (
            EXISTS (SELECT FROM archive_restore r WHERE r.archive_id = mine.archive_id AND r.state = 'waiting')
            OR EXISTS (SELECT FROM archive_run other WHERE other.archive_id = mine.archive_id
                AND other.state = 'waiting' AND (other.due_at, other.run_id) < (mine.due_at, mine.run_id)))`,
    [row.workId],
  );
  return before === undefined;
}
