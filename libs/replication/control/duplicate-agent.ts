import { agentLinkResult, type ResultContract } from '#contracts/sites';
import { noticeRaised } from '#libs/notifications/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Outbox } from '#libs/platform/outbox';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';

type AgentLink = typeof agentLinkResult extends ResultContract<infer P> ? P : never;

/** Two processes with one identity: a copied machine, or a stolen key. People must hear of it. */
@AppliesResult(agentLinkResult)
export class DuplicateAgentNotice implements ResultHandler<AgentLink> {
  constructor(private readonly outbox: Outbox) {}

  async apply(tx: ProviderTransaction, { siteId, payload }: AppliedResult<AgentLink>): Promise<void> {
    if (payload.state !== 'duplicate') return;
    const { agentId } = payload;
    const [agent] = await tx.query<{ tenantId: string; name: string; siteName: string }>(
      `SELECT agent.tenant_id AS "tenantId", agent.name, site.name AS "siteName"
         FROM agent JOIN agent_site link ON link.tenant_id = agent.tenant_id AND link.agent_id = agent.id
         JOIN site ON site.id = link.site_id
        WHERE agent.id = $1 AND link.site_id = $2`,
      [agentId, siteId],
    );
    if (!agent) return;
    await this.outbox.publish(tx, noticeRaised, agent.tenantId, {
      kind: 'agents.duplicate',
      severity: 'alarm',
      title: `${agent.name}: a second process shows this agent’s identity`,
      text: `${agent.siteName} refused a second process that showed the identity of ${agent.name} while the first is connected. Was its machine copied? Stop the copy and enrol it anew; if nobody copied it, revoke this agent (POST /v1/agents/${agentId}/revoke) and enrol again.`,
      subjectIds: { agentId },
      dedupeKey: `agents.duplicate ${agentId}`,
    });
  }
}
