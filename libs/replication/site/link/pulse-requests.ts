import { Injectable } from '@nestjs/common';
import {
  LEASE_MARGIN_SECONDS,
  type ProtectionMode,
  type PulseRequest,
  type ReplicationNames,
} from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { SiteUnitOfWork, type SiteTransaction } from '#libs/platform/database';

/**
 * How long a grant to go on without the metro lasts from one pulse. Renewed by each pulse while it stands; a failover
 * that cannot reach the agent waits no longer than this, and the margin.
 */
export const GRANT_SECONDS = 30;

/** One workload of a pulse, with what must be known of the moment at which it was sent. */
export interface PulsedWorkload {
  readonly workloadId: string;
  readonly tenantId: string;
  readonly role: SiteRole;
  readonly mode: ProtectionMode;
  readonly epoch: number;
  /** The record of disarming that was in force; an answer must not undo a later one. */
  readonly disarmId: string | null;
  readonly disarmBy: 'agent' | 'person' | null;
  /** The site that it makes the synchronous one. */
  readonly disarmTo: SiteRole | null;
  /** Whether the pulse let the agent go on without this site. */
  readonly granted: boolean;
  /** Whether the pulse asked for what ends that. */
  readonly rearm: boolean;
}

export interface PreparedPulse {
  /** By the database's clock, before the pulse was sent: the lease counts from here, so that no packet's delay adds to it. */
  readonly preparedAt: string;
  readonly request: PulseRequest;
  readonly workloads: readonly PulsedWorkload[];
}

interface Row {
  readonly workload_id: string;
  readonly tenant_id: string;
  readonly workload_name: string;
  readonly role: SiteRole;
  readonly mode: ProtectionMode;
  readonly epoch: number;
  readonly names: ReplicationNames;
  readonly promoted_at_lsn: string | null;
  readonly promoted_timeline: number | null;
  readonly reboot_until: Date | null;
  readonly refused: boolean;
  readonly rearm: boolean;
  readonly disarm_request_id: string | null;
  readonly disarm_by: 'agent' | 'person' | null;
  readonly disarm_to: SiteRole | null;
  readonly held_for_other: boolean;
}

interface Grant {
  readonly workload_id: string;
  readonly disarm_request_id: string;
  readonly lease_seconds: number;
  readonly disarm_to: SiteRole | null;
  /** The control plane keeps it, and the agent knows what that means. */
  readonly by_order: boolean;
}

/** Builds what a pulse says to an agent about its workloads here. */
@Injectable()
export class PulseRequests {
  constructor(private readonly work: SiteUnitOfWork) {}

  /**
   * Undefined when the agent has no workload here. Once this has returned, the row already says until when a receiver
   * that the pulse lets live can be alive: so the pulse may be sent, and this process may die.
   */
  async prepare(agentId: string): Promise<PreparedPulse | undefined> {
    const { clock, grants, rows } = await this.work.run(async (tx) => ({
      // As text: a Date would cut off the microseconds.
      clock: await tx.query<{ now: string }>(`SELECT clock_timestamp()::text AS now`),
      grants: await this.renewGrants(tx, agentId),
      rows: await tx.query<Row>(
        `SELECT s.workload_id, s.tenant_id, s.workload_name, s.role, s.mode, s.epoch, s.names,
                s.promoted_at_lsn::text AS promoted_at_lsn, s.promoted_timeline, s.reboot_until,
                coalesce(l.refused, false) AS refused, coalesce(l.rearm, false) AS rearm,
                l.disarm_request_id, l.disarm_by, l.disarm_to,
                -- An own run's hold has no end; the other site's has one, if only in name.
                s.hold IS NOT NULL AND s.hold_until IS NOT NULL AS held_for_other
           FROM standby s LEFT JOIN armed_lease l USING (workload_id)
          WHERE s.agent_id = $1 AND s.state <> 'removed' ORDER BY s.workload_id`,
        [agentId],
      ),
    }));
    const preparedAt = clock[0]?.now;
    if (rows.length === 0 || preparedAt === undefined) return undefined;
    const byWorkload = new Map(grants.map((grant) => [grant.workload_id, grant]));
    const paired = rows.map((row) => {
      const grant = byWorkload.get(row.workload_id);
      // Recorded anew between the two statements: the next pulse carries it.
      return { row, grant: grant?.disarm_request_id === row.disarm_request_id ? grant : undefined };
    });
    return {
      preparedAt,
      request: { workloads: paired.map(({ row, grant }) => said(row, grant)) },
      workloads: paired.map(({ row, grant }) => ({
        workloadId: row.workload_id,
        tenantId: row.tenant_id,
        role: row.role,
        mode: row.mode,
        epoch: row.epoch,
        disarmId: row.disarm_request_id,
        disarmBy: row.disarm_by,
        disarmTo: row.disarm_to,
        granted: grant !== undefined,
        rearm: row.rearm,
      })),
    };
  }

  private renewGrants(tx: SiteTransaction, agentId: string): Promise<Grant[]> {
    return tx.query<Grant>(
      `UPDATE armed_lease l
          SET degrade_lease_seconds = due.seconds,
              -- Without a receiver there is none to wait out.
              degrade_until = CASE WHEN l.disarm_to IS NOT NULL THEN l.degrade_until ELSE
                greatest(l.degrade_until, clock_timestamp() + make_interval(secs => due.seconds + $3)) END
         FROM (SELECT workload_id, coalesce(source_report.report ? 'synchronousSite', false) AS told_sites,
                      ceil(least($2::float8, coalesce(extract(epoch FROM disarm_expires_at - clock_timestamp()), $2)))::int
                        AS seconds
                 FROM armed_lease LEFT JOIN source_report USING (workload_id)) due, standby s
        WHERE l.workload_id = due.workload_id AND l.workload_id = s.workload_id AND s.agent_id = $1
          AND l.disarm_request_id IS NOT NULL AND due.seconds > 0 AND (l.disarm_to IS NULL OR due.told_sites)
          AND NOT l.refused AND NOT l.rearm AND NOT l.grant_over AND l.epoch = s.epoch
          AND s.state NOT IN ('promoting', 'primary', 'removing', 'removed')
        RETURNING l.workload_id, l.disarm_request_id, l.degrade_lease_seconds AS lease_seconds, l.disarm_to,
                  due.told_sites AND l.disarm_by = 'person' AND l.disarm_expires_at IS NOT NULL AS by_order`,
      [agentId, GRANT_SECONDS, LEASE_MARGIN_SECONDS],
    );
  }
}

function said(row: Row, grant: Grant | undefined): PulseRequest['workloads'][number] {
  return {
    workloadId: row.workload_id,
    name: row.workload_name,
    role: row.role,
    mode: row.mode,
    epoch: row.epoch,
    ...(row.held_for_other && { confirms: false }),
    names: row.names,
    promotedAtLsn: row.promoted_at_lsn,
    promotedTimeline: row.promoted_timeline,
    refuseLease: row.refused,
    disarmed: grant ? granted(grant) : null,
    rearm: row.rearm,
    rebootUntil: row.reboot_until?.toISOString() ?? null,
  };
}

function granted(grant: Grant): NonNullable<PulseRequest['workloads'][number]['disarmed']> {
  return {
    requestId: grant.disarm_request_id,
    leaseSeconds: grant.lease_seconds,
    ...(grant.disarm_to !== null && { to: grant.disarm_to }),
    ...(grant.by_order && { byOrder: true }),
  };
}
