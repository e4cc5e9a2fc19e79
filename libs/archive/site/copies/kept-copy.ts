import type { SiteTransaction } from '#libs/platform/database';

/** Whose a copy is that this site keeps for another one. */
export interface KeptCopy {
  readonly archiveId: string;
  readonly workloadId: string;
  readonly tenantId: string;
}

/** Nobody else changes it, or ends it, before this transaction ends. */
export async function keptCopy(tx: SiteTransaction, archiveId: string): Promise<KeptCopy | undefined> {
  const [row] = await tx.query<KeptCopy>(
    `SELECT archive_id AS "archiveId", workload_id AS "workloadId", tenant_id AS "tenantId" FROM archive_kept_copy
      WHERE archive_id = $1 FOR UPDATE`,
    [archiveId],
  );
  return row;
}
