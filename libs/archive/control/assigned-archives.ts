import { Injectable } from '@nestjs/common';
import type { AgentAssignment } from '#contracts/sites';
import type { Transaction } from '#libs/platform/database';

/**
 * By what an agent judges whether a site may have an archive's work done: its own site, until nothing
 * of it is left; and whether a site may bring a password.
 */
@Injectable()
export class AssignedArchives {
  /** Never behind the orders: a site is ordered in the transaction that makes it appear here. */
  async of(tx: Transaction, tenantId: string, agentId: string): Promise<Pick<AgentAssignment, 'archives'>> {
    const archives = await tx.query<NonNullable<AgentAssignment['archives']>[number]>(
      `SELECT a.site_id AS "siteId", a.workload_id AS "workloadId", w.name, a.key_mode AS "keyMode"
         FROM archive a JOIN workload w ON w.tenant_id = a.tenant_id AND w.id = a.workload_id
        WHERE a.tenant_id = $1 AND a.agent_id = $2 AND a.ended_at IS NULL
        ORDER BY w.name, a.id`,
      [tenantId, agentId],
    );
    return { archives };
  }
}
