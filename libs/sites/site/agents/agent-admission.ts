import type { z } from 'zod';
import { admitAgentOrder, revokeAgentOrder } from '#contracts/sites';
import type { SiteTransaction } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '../orders/carries-out.js';

class AgentWithoutAgencyError extends DomainError {
  constructor() {
    super('invalid', 'agent.agency-missing', 'An agent belongs to an agency: the order names none.');
  }
}

/** From the order's acknowledgement on, the gateway lets the agent in. A revoked agent stays out: it enrols anew. */
@CarriesOut(admitAgentOrder)
export class AdmitAgentHandler implements OrderHandler<z.infer<typeof admitAgentOrder.payload>> {
  async received(
    tx: SiteTransaction,
    { tenantId, payload }: ReceivedOrder<z.infer<typeof admitAgentOrder.payload>>,
  ): Promise<void> {
    if (tenantId === null) throw new AgentWithoutAgencyError();
    await tx.execute(
      `INSERT INTO agent_identity (agent_id, tenant_id, name, public_key) VALUES ($1, $2, $3, $4)
       ON CONFLICT (agent_id) DO UPDATE SET name = excluded.name, public_key = excluded.public_key
        WHERE agent_identity.tenant_id = excluded.tenant_id AND agent_identity.revoked_at IS NULL`,
      [payload.agentId, tenantId, payload.name, payload.publicKey],
    );
  }

  async carryOut(): Promise<void> {
    // All of it was done with the order's receipt.
  }
}

/** From the order's acknowledgement on, the agent is out; the link cuts its live connections. */
@CarriesOut(revokeAgentOrder)
export class RevokeAgentHandler implements OrderHandler<z.infer<typeof revokeAgentOrder.payload>> {
  /** Leaves a row even when the order to admit the agent comes later on the way: it stays out then, too. */
  async received(
    tx: SiteTransaction,
    { tenantId, payload }: ReceivedOrder<z.infer<typeof revokeAgentOrder.payload>>,
  ): Promise<void> {
    if (tenantId === null) throw new AgentWithoutAgencyError();
    await tx.execute(
      `INSERT INTO agent_identity (agent_id, tenant_id, name, public_key, revoked_at)
       VALUES ($1, $2, '', '', clock_timestamp())
       ON CONFLICT (agent_id) DO UPDATE SET revoked_at = coalesce(agent_identity.revoked_at, excluded.revoked_at)
        WHERE agent_identity.tenant_id = excluded.tenant_id`,
      [payload.agentId, tenantId],
    );
  }

  async carryOut(): Promise<void> {
    // All of it was done with the order's receipt.
  }
}
