import { STAND_ASIDE_WORDS, type StandAside, type StandAsideWord } from '#contracts/failover';
import type { SiteTransaction } from '#libs/platform/database';
import type { Standby } from '#libs/replication/site';

/** The newest word of a promotion at the other site. */
export interface StandAsideRow {
  readonly epoch: number;
  readonly word: StandAsideWord;
}

/** An end that never comes: only a word lifts such a hold. */
export const WITHOUT_LAPSE = new Date('9999-12-31T00:00:00Z');

export const heldFor = (epoch: number): string => `epoch ${epoch} at the other site`;

/** Keeps a word unless a newer epoch's, or a weightier one of the same, is known. Answers what is known then. */
export async function noteStandAside(tx: SiteTransaction, said: StandAside): Promise<StandAsideRow | undefined> {
  await tx.execute(
    `INSERT INTO stand_aside (workload_id, epoch, word, run_id, promoted_at_lsn, promoted_timeline)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (workload_id) DO UPDATE
       SET epoch = excluded.epoch, word = excluded.word, run_id = excluded.run_id,
           promoted_at_lsn = excluded.promoted_at_lsn, promoted_timeline = excluded.promoted_timeline
       WHERE stand_aside.epoch < excluded.epoch
          OR (stand_aside.epoch = excluded.epoch
              AND array_position($7::text[], stand_aside.word) < array_position($7::text[], excluded.word))`,
    [
      said.workloadId,
      said.epoch,
      said.word,
      said.runId,
      said.promotedAtLsn,
      said.promotedTimeline,
      [...STAND_ASIDE_WORDS],
    ],
  );
  return standAsideOf(tx, said.workloadId);
}

/** The run at the other site says itself that it is over, without a promotion. */
export async function noteResumed(tx: SiteTransaction, workloadId: string): Promise<void> {
  await tx.execute(`UPDATE stand_aside SET word = 'resume' WHERE workload_id = $1 AND word = 'hold'`, [workloadId]);
}

/** Whether this site already stands where the epoch leaves it: it follows the new primary, or is that itself. */
export const isPast = ({ epoch, follow, state }: Standby, said: number): boolean =>
  epoch > said || (epoch === said && (follow === 'peer' || state === 'primary'));

/** The word that keeps this site aside now; undefined when none does. */
export async function keptAside(tx: SiteTransaction, standby: Standby): Promise<StandAsideRow | undefined> {
  const row = await standAsideOf(tx, standby.workloadId);
  return row && row.word !== 'resume' && !isPast(standby, row.epoch) ? row : undefined;
}

async function standAsideOf(tx: SiteTransaction, workloadId: string): Promise<StandAsideRow | undefined> {
  const [row] = await tx.query<StandAsideRow>('SELECT epoch, word FROM stand_aside WHERE workload_id = $1', [
    workloadId,
  ]);
  return row;
}
