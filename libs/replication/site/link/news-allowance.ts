import { randomUUID } from 'node:crypto';
import type { SiteTransaction } from '#libs/platform/database';

/** Of one workload and kind. What an honest server has to tell is a handful in a year. */
const NEWS_PER_HOUR = 30;

export interface News {
  readonly workloadId: string;
  readonly kind: string;
  readonly epoch: number;
  /** News with the same hash is the same news: told once. */
  readonly hash: string;
}

/**
 * Notes that something is told now; false when it has been told, or when there was so much of its kind within the hour
 * that an agent must be making it up. Agents repeat what they say, so what was not told for that is told later.
 */
export async function mayTell(tx: SiteTransaction, { workloadId, kind, epoch, hash }: News): Promise<boolean> {
  const noted = await tx.execute(
    `INSERT INTO source_news (workload_id, kind, epoch, content_hash) SELECT $1, $2, $3, $4
      WHERE (SELECT count(*) FROM source_news
              WHERE workload_id = $1 AND kind = $2 AND at > now() - interval '1 hour') < $5
     ON CONFLICT DO NOTHING`,
    [workloadId, kind, epoch, hash, NEWS_PER_HOUR],
  );
  return noted > 0;
}

/** The same for what may come again and again: each time counts, and is forgotten after the hour. */
export async function mayTellAgain(tx: SiteTransaction, news: Omit<News, 'hash'>): Promise<boolean> {
  const { workloadId, kind } = news;
  await tx.execute(`DELETE FROM source_news WHERE workload_id = $1 AND kind = $2 AND at <= now() - interval '1 hour'`, [
    workloadId,
    kind,
  ]);
  return mayTell(tx, { ...news, hash: randomUUID() });
}
