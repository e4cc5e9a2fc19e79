import { Injectable } from '@nestjs/common';
import type { ReplicationNames } from '#contracts/replication';
import type { AgentAssignment } from '#contracts/sites';
import type { Transaction } from '#libs/platform/database';
import { legsOf } from './protections/protection-orders.js';
import type { ProtectionState } from './protection.states.js';

/** From the first order to a site until both have said that nothing is left there. */
const SERVED: readonly ProtectionState[] = ['protecting', 'failing-over', 'failed-over', 'removing'];

interface Row {
  readonly workloadId: string;
  readonly name: string;
  readonly names: ReplicationNames;
  readonly metroSiteId: string | null;
  readonly regionalSiteId: string | null;
}

/** By what an agent judges whether a site may ask something of it: who serves which workload, and who looks at one. */
@Injectable()
export class AssignedWorkloads {
  /** Never behind the orders: a site is ordered in the transaction that makes it appear here. */
  async of(
    tx: Transaction,
    tenantId: string,
    agentId: string,
  ): Promise<Pick<AgentAssignment, 'workloads' | 'preflights'>> {
    const rows = await tx.query<Row>(
      `SELECT p.workload_id AS "workloadId", w.name, p.names, p.metro_site_id AS "metroSiteId",
              p.regional_site_id AS "regionalSiteId"
         FROM protection p JOIN workload w ON w.tenant_id = p.tenant_id AND w.id = p.workload_id
        WHERE p.tenant_id = $1 AND p.agent_id = $2 AND p.removed_at IS NULL AND p.state = ANY ($3)
        ORDER BY p.workload_id`,
      [tenantId, agentId, SERVED],
    );
    // A site that was asked and has not answered for a day is not waited for any more.
    const preflights = await tx.query<{ siteId: string; workloadName: string }>(
      `SELECT DISTINCT f.site_id AS "siteId", w.name AS "workloadName"
         FROM preflight f JOIN workload w ON w.tenant_id = f.tenant_id AND w.id = f.workload_id
        WHERE f.tenant_id = $1 AND w.agent_id = $2 AND w.removed_at IS NULL
          AND f.state = 'running' AND f.requested_at > now() - interval '1 day'
        ORDER BY 1, 2`,
      [tenantId, agentId],
    );
    const workloads = rows.map((row) => ({
      workloadId: row.workloadId,
      name: row.name,
      names: { ...row.names },
      legs: legsOf(row),
    }));
    return { workloads, preflights };
  }
}
