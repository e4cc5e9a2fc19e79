import { Injectable } from '@nestjs/common';
import { agentLinkResult } from '#contracts/sites';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SiteOutbox } from '../outbox/site-outbox.js';

/** An agent as the gateway must know it. */
export interface AdmittedAgent {
  readonly agentId: string;
  readonly tenantId: string;
  /** SPKI, PEM. */
  readonly publicKey: string;
  readonly revoked: boolean;
}

export interface AgentLinkChange {
  readonly agentId: string;
  readonly state: 'connected' | 'disconnected' | 'duplicate';
  readonly version: string | null;
  readonly roundTripMilliseconds: number | null;
}

/** The agents that this site lets in. */
@Injectable()
export class AgentRegister {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly outbox: SiteOutbox,
  ) {}

  async find(agentId: string): Promise<AdmittedAgent | undefined> {
    const [row] = await this.work.run((tx) =>
      tx.query<AdmittedAgent>(
        `SELECT agent_id AS "agentId", tenant_id AS "tenantId", public_key AS "publicKey",
                revoked_at IS NOT NULL AS revoked FROM agent_identity WHERE agent_id = $1`,
        [agentId],
      ),
    );
    return row;
  }

  /** Of these agents, those that may stay connected. */
  async admitted(agentIds: readonly string[]): Promise<ReadonlySet<string>> {
    if (agentIds.length === 0) return new Set();
    const rows = await this.work.run((tx) =>
      tx.query<{ agent_id: string }>(
        `SELECT agent_id FROM agent_identity WHERE agent_id = ANY($1) AND revoked_at IS NULL`,
        [agentIds],
      ),
    );
    return new Set(rows.map((row) => row.agent_id));
  }

  /** Every agent that may be connected here. */
  async allAdmitted(): Promise<string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ agent_id: string }>(`SELECT agent_id FROM agent_identity WHERE revoked_at IS NULL`),
    );
    return rows.map((row) => row.agent_id);
  }

  /** The agents that the control plane believes to be connected here. */
  async toldConnected(): Promise<string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ agent_id: string }>(`SELECT agent_id FROM agent_identity WHERE told_connected`),
    );
    return rows.map((row) => row.agent_id);
  }

  /**
   * Tells the control plane of a link that came or went, if that is news to it. Nothing to do for an agent that this
   * site never admitted.
   */
  async tell(change: AgentLinkChange): Promise<void> {
    await this.work.run(async (tx) => {
      const [agent] =
        change.state === 'duplicate'
          ? await tx.query<{ tenant_id: string }>(`SELECT tenant_id FROM agent_identity WHERE agent_id = $1`, [
              change.agentId,
            ])
          : await tx.query<{ tenant_id: string }>(
              `UPDATE agent_identity SET told_connected = $2 WHERE agent_id = $1 AND told_connected <> $2
               RETURNING tenant_id`,
              [change.agentId, change.state === 'connected'],
            );
      if (agent) await this.outbox.emit(tx, agentLinkResult, { tenantId: agent.tenant_id }, { ...change });
    });
  }
}
