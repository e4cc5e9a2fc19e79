import { Injectable } from '@nestjs/common';
import type { ArchiveReport, Failure } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';
import type { ArchiveRow } from './archive.row.js';

interface Facts {
  readonly heldBecause: string | null;
  readonly storedBytes: number | null;
  readonly checkedShare: number | null;
  readonly damaged: { object: string; repaired: boolean; at: string }[] | null;
  readonly copy: {
    completeUntil: Date | null;
    missingObjects: number | null;
    missingBytes: number | null;
    lookedAt: Date;
  } | null;
  readonly copyFailure: Failure | null;
}

const iso = (at: Date | null): string | null => at && new Date(at).toISOString();

/** What the control plane is told of an archive: gathered from the rows of all that is done with it. */
@Injectable()
export class ArchiveReports {
  async of(tx: SiteTransaction, row: ArchiveRow): Promise<ArchiveReport> {
    const { archiveId, workloadId, state, failure } = row;
    const [facts] = await tx.query<Facts>(
      `SELECT v.held_because AS "heldBecause",
              (SELECT bytes::float8 FROM archive_stored s WHERE s.archive_id = v.repository_id) AS "storedBytes",
              (SELECT least(1, coalesce(sum(1.0 / of) FILTER (WHERE failure IS NULL), 0))::float8 FROM archive_check c
                WHERE c.archive_id = v.repository_id AND checked_at > clock_timestamp() - interval '30 days'
                HAVING count(*) > 0) AS "checkedShare",
              (SELECT json_agg(json_build_object('object', object, 'repaired', repaired_at IS NOT NULL,
                        'at', to_char(found_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
                 FROM (SELECT * FROM archive_damage d WHERE d.archive_id = v.repository_id
                        ORDER BY repaired_at NULLS FIRST, found_at DESC LIMIT 100) d) AS damaged,
              (SELECT json_build_object('completeUntil', complete_until, 'missingObjects', missing_objects,
                        'missingBytes', missing_bytes, 'lookedAt', looked_at)
                 FROM archive_copy c WHERE c.archive_id = v.repository_id AND looked_at IS NOT NULL) AS copy,
              (SELECT c.failure FROM archive_copy c WHERE c.archive_id = v.repository_id) AS "copyFailure"
         FROM vault_repository v WHERE v.repository_id = $1`,
      [archiveId],
    );
    const copy = facts?.copy;
    return {
      archiveId,
      workloadId,
      state,
      failure,
      storedBytes: facts?.storedBytes ?? 0,
      nextRunAt: iso(row.nextRunAt),
      retentionPaused: facts?.heldBecause ?? null,
      copy: copy
        ? {
            ...copy,
            completeUntil: iso(copy.completeUntil),
            lookedAt: new Date(copy.lookedAt).toISOString(),
            failure: facts.copyFailure,
          }
        : null,
      checkedShare: facts?.checkedShare ?? null,
      damaged: facts?.damaged ?? [],
      keysRotatedAt: iso(row.keysRotatedAt),
      alarms: [...row.alarms],
      standing: await standingOf(tx, archiveId),
    };
  }
}

async function standingOf(tx: SiteTransaction, archiveId: string): Promise<ArchiveReport['standing']> {
  const [row] = await tx.query<{
    path: string;
    snapshotId: string | null;
    layingOut: string | null;
    receivedAt: Date | null;
    restoredAt: Date | null;
    failure: Failure | null;
  }>(
    `SELECT path, snapshot_id AS "snapshotId", laying_out AS "layingOut", received_at AS "receivedAt", restored_at AS "restoredAt", failure
       FROM archive_standing WHERE archive_id = $1`,
    [archiveId],
  );
  return row ? { ...row, receivedAt: iso(row.receivedAt), restoredAt: iso(row.restoredAt) } : null;
}
