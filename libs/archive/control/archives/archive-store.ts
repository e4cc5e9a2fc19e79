import { Injectable } from '@nestjs/common';
import type {
  ArchiveAlarm,
  ArchivePolicy,
  ArchiveReport,
  ArchiveState,
  Failure,
  FormerRetention,
  KeyMode,
  RunState,
  SourceKind,
  StandingCopy,
} from '#contracts/archive';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { AGENT_GONE, COPY_BEHIND, LATE, PROOF_FAILED } from './measured.js';

/** An archive with what is needed of its workload, its sites and its newest run. */
export interface ArchiveRow {
  readonly id: string;
  readonly tenantId: string;
  readonly workloadId: string;
  readonly workloadName: string;
  readonly agentId: string;
  readonly siteId: string;
  readonly siteName: string;
  readonly secondSiteId: string | null;
  readonly secondSiteName: string | null;
  readonly source: SourceKind;
  readonly keyMode: KeyMode;
  readonly state: ArchiveState;
  readonly policy: ArchivePolicy;
  /** What was kept before it was to keep less, as long as that counts too. */
  readonly formerRetention: FormerRetention | null;
  readonly periodSeconds: number;
  readonly paused: boolean;
  readonly warnings: readonly string[];
  readonly failure: Failure | null;
  readonly storedBytes: number | null;
  readonly nextRunAt: Date | null;
  readonly retentionPaused: string | null;
  readonly copy: ArchiveReport['copy'];
  readonly checkedShare: number | null;
  readonly damaged: ArchiveReport['damaged'];
  readonly keysRotatedAt: Date | null;
  /** What the site alarms about, as it told last. */
  readonly alarms: readonly ArchiveAlarm[];
  /** The newest point laid out as files at the site. */
  readonly standing: StandingCopy | null;
  readonly reportedAt: Date | null;
  readonly completedAt: Date | null;
  readonly createdAt: Date;
  readonly createdText: string;
  readonly endedAt: Date | null;
  /** Whether the site was heard within the last ten seconds. */
  readonly siteHeard: boolean;
  /** No run left a recovery point within twice the period. */
  readonly late: boolean;
  /** Its site has not heard its agent for an hour. */
  readonly agentGone: boolean;
  /** The second copy lacks a recovery point that should be there by now. */
  readonly copyBehind: boolean;
  /** The newest recovery point that was judged by a proof did not come out right. */
  readonly proofFailed: boolean;
  readonly openChanges: number;
  readonly points: number;
  readonly newestPointAt: Date | null;
  readonly lastRun: { readonly id: string; readonly state: RunState; readonly endedAt: Date | null } | null;
}

const QUERY = `SELECT a.id, a.tenant_id AS "tenantId", a.workload_id AS "workloadId", w.name AS "workloadName",
    a.agent_id AS "agentId", a.site_id AS "siteId", coalesce(site.name, '') AS "siteName",
    a.second_site_id AS "secondSiteId", second.name AS "secondSiteName", a.source, a.key_mode AS "keyMode", a.state,
    a.policy, CASE WHEN (a.former_retention->>'until')::timestamptz > now() THEN a.former_retention END AS "formerRetention",
    a.period_seconds AS "periodSeconds", a.paused, a.warnings, a.failure,
    a.stored_bytes::float8 AS "storedBytes", a.next_run_at AS "nextRunAt", a.retention_paused AS "retentionPaused",
    a.copy, a.checked_share AS "checkedShare", a.damaged, a.keys_rotated_at AS "keysRotatedAt",
    a.alarms, a.standing, a.reported_at AS "reportedAt", a.completed_at AS "completedAt", a.created_at AS "createdAt",
    a.created_at::text AS "createdText", a.ended_at AS "endedAt",
    coalesce(heard.received_at > now() - interval '10 seconds', false) AS "siteHeard", ${LATE} AS late,
    ${AGENT_GONE} AS "agentGone", ${COPY_BEHIND} AS "copyBehind", ${PROOF_FAILED} AS "proofFailed",
    (SELECT count(*)::int FROM mass_change c
      WHERE c.tenant_id = a.tenant_id AND c.archive_id = a.id AND c.state = 'suspected') AS "openChanges",
    points.count AS points, points.newest AS "newestPointAt",
    (SELECT json_build_object('id', r.id, 'state', r.state, 'endedAt', r.ended_at) FROM archive_run r
      WHERE r.tenant_id = a.tenant_id AND r.archive_id = a.id ORDER BY r.due_at DESC, r.id DESC LIMIT 1) AS "lastRun"
  FROM archive a
  JOIN workload w ON w.tenant_id = a.tenant_id AND w.id = a.workload_id
  LEFT JOIN site ON site.id = a.site_id
  LEFT JOIN site second ON second.id = a.second_site_id
  LEFT JOIN site_state heard ON heard.site_id = a.site_id
  CROSS JOIN LATERAL (
    SELECT count(*)::int AS count, max(p.received_at) AS newest FROM recovery_point p
     WHERE p.tenant_id = a.tenant_id AND p.archive_id = a.id AND p.forgotten_at IS NULL) points
  WHERE a.tenant_id = $1`;

/** Reads archives. */
@Injectable()
export class ArchiveStore {
  async find(tx: Transaction, tenantId: string, id: string): Promise<ArchiveRow | undefined> {
    const [row] = await tx.query<ArchiveRow>(`${QUERY} AND a.id = $2`, [tenantId, id]);
    return row && toRow(row);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<ArchiveRow> {
    const row = await this.find(tx, tx.tenantId, id);
    if (!row) throw new NotFoundError('archive');
    return row;
  }

  /** The workload's archive that has not ended. */
  async ofWorkload(tx: TenantTransaction, workloadId: string): Promise<ArchiveRow | undefined> {
    const [row] = await tx.query<ArchiveRow>(`${QUERY} AND a.workload_id = $2 AND a.ended_at IS NULL`, [
      tx.tenantId,
      workloadId,
    ]);
    return row && toRow(row);
  }

  /** The newest first, `limit + 1` at most. */
  async list(
    tx: TenantTransaction,
    filter: { readonly workloadId: string | null },
    after: readonly [string, string] | undefined,
    limit: number,
  ): Promise<ArchiveRow[]> {
    const rows = await tx.query<ArchiveRow>(
      `${QUERY} AND ($2::uuid IS NULL OR a.workload_id = $2)
          AND ($3::timestamptz IS NULL OR (a.created_at, a.id) < ($3, $4::uuid))
        ORDER BY a.created_at DESC, a.id DESC LIMIT $5`,
      [tx.tenantId, filter.workloadId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
    return rows.map(toRow);
  }
}

/** Inside JSON, times arrive as text. */
const toRow = ({ lastRun, ...row }: ArchiveRow): ArchiveRow => ({
  ...row,
  lastRun: lastRun && { ...lastRun, endedAt: lastRun.endedAt && new Date(lastRun.endedAt) },
});
