import { Injectable, type OnModuleInit } from '@nestjs/common';
import { agentLinkResult, orderFailed, type SiteSnapshot } from '#contracts/sites';
import type { ProviderTransaction } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import {
  type AppliedResult,
  AppliesResult,
  type ResultHandler,
  type SnapshotStore,
  SnapshotStores,
} from '../results/applies-result.js';

/** Keeps which agents a site has links with, from its snapshots. */
@Injectable()
export class AgentLinkStore implements SnapshotStore, OnModuleInit {
  constructor(private readonly stores: SnapshotStores) {}

  onModuleInit(): void {
    this.stores.register(this);
  }

  async store(tx: ProviderTransaction, snapshot: SiteSnapshot): Promise<void> {
    await tx.execute(
      `UPDATE agent_site SET connected_since = link."connectedSince", seen_at = now(),
              round_trip_milliseconds = coalesce(link."roundTripMilliseconds", round_trip_milliseconds)
         FROM jsonb_to_recordset($2::jsonb)
           AS link("agentId" uuid, "connectedSince" timestamptz, "roundTripMilliseconds" double precision)
        WHERE site_id = $1 AND agent_id = link."agentId"`,
      [snapshot.siteId, JSON.stringify(snapshot.agents)],
    );
    await tx.execute(
      `UPDATE agent_site SET connected_since = NULL
        WHERE site_id = $1 AND connected_since IS NOT NULL AND agent_id <> ALL($2::uuid[])`,
      [snapshot.siteId, snapshot.agents.map((agent) => agent.agentId)],
    );
  }
}

type AgentLink = ReturnType<typeof agentLinkResult.payload.parse>;

/** Notes each coming and going of a link, and a second process with an agent's identity. */
@AppliesResult(agentLinkResult)
export class AgentLinkHandler implements ResultHandler<AgentLink> {
  async apply(tx: ProviderTransaction, { siteId, at, payload }: AppliedResult<AgentLink>): Promise<void> {
    const { agentId, state, version, roundTripMilliseconds } = payload;
    await tx.execute(
      `UPDATE agent_site SET
          connected_since = CASE $3 WHEN 'connected' THEN coalesce(connected_since, $4) WHEN 'disconnected' THEN NULL
                                    ELSE connected_since END,
          seen_at = greatest(seen_at, now()),
          duplicate_at = CASE $3 WHEN 'duplicate' THEN $4 ELSE duplicate_at END,
          round_trip_milliseconds = coalesce($5, round_trip_milliseconds)
        WHERE site_id = $1 AND agent_id = $2`,
      [siteId, agentId, state, at, roundTripMilliseconds],
    );
    if (version === null || state !== 'connected') return;
    await tx.execute(
      `UPDATE agent SET version = $3 WHERE id = $2 AND version <> $3
          AND EXISTS (SELECT FROM agent_site link WHERE link.agent_id = agent.id AND link.site_id = $1)`,
      [siteId, agentId, version],
    );
  }
}

type OrderFailure = ReturnType<typeof orderFailed.payload.parse>;

/** Whatever a failed order means to its domain, the operators see it. */
@AppliesResult(orderFailed)
export class OrderFailureLog implements ResultHandler<OrderFailure> {
  constructor(private readonly logger: AppLogger) {}

  async apply(_tx: ProviderTransaction, { siteId, orderId, payload }: AppliedResult<OrderFailure>): Promise<void> {
    this.logger.log.warn({ siteId, orderId, kind: payload.kind, code: payload.code }, 'an order failed at its site');
  }
}
