import { Injectable } from '@nestjs/common';
import { admitAgentOrder, type AgentAssignment, type AgentSite, revokeAgentOrder } from '#contracts/sites';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import type { Location } from '../geography.js';
import { Orders } from '../orders/orders.js';

/** An agent's link to one site. `unknown`: the site itself has been silent for ten seconds. */
export interface AgentLinkView {
  readonly siteId: string;
  readonly siteName: string;
  readonly state: 'connected' | 'silent' | 'never' | 'unknown';
  readonly connectedSince: Date | null;
  readonly seenAt: Date | null;
  readonly roundTripMilliseconds: number | null;
  /** When a second process last showed this agent's identity there; null when never. */
  readonly duplicateSeenAt: Date | null;
}

export interface AgentView {
  readonly id: string;
  readonly name: string;
  readonly hostname: string;
  readonly version: string;
  readonly enrolledAt: Date;
  readonly revokedAt: Date | null;
  /** The best of its links, or `revoked`. */
  readonly state: 'connected' | 'silent' | 'never' | 'unknown' | 'revoked';
  readonly sites: readonly AgentLinkView[];
  /** For the next page's cursor. */
  readonly enrolledMicroseconds: number;
}

type AgentRow = Omit<AgentView, 'state'>;

/** The sort key of a page of agents: when it was enrolled, in microseconds, and its id. */
export type AgentCursor = readonly [number, string];
const ENROLLED_MICROSECONDS = `(extract(epoch FROM agent.enrolled_at) * 1000000)::bigint`;

const AGENT_QUERY = `SELECT agent.id, agent.name, agent.hostname, agent.version, agent.enrolled_at AS "enrolledAt",
    agent.revoked_at AS "revokedAt", ${ENROLLED_MICROSECONDS} AS "enrolledMicroseconds", coalesce(links.sites, '[]') AS sites
  FROM agent LEFT JOIN LATERAL (
    SELECT json_agg(json_build_object(
        'siteId', link.site_id, 'siteName', site.name, 'connectedSince', link.connected_since, 'seenAt', link.seen_at,
        'roundTripMilliseconds', link.round_trip_milliseconds, 'duplicateSeenAt', link.duplicate_at,
        'state', CASE WHEN link.seen_at IS NULL THEN 'never'
                      WHEN state.received_at IS NULL OR state.received_at < now() - interval '10 seconds' THEN 'unknown'
                      WHEN link.connected_since IS NULL THEN 'silent' ELSE 'connected' END)
      ORDER BY site.name, site.id) AS sites
    FROM agent_site link JOIN site ON site.id = link.site_id LEFT JOIN site_state state ON state.site_id = site.id
    WHERE link.tenant_id = agent.tenant_id AND link.agent_id = agent.id
  ) links ON true
  WHERE agent.tenant_id = $1`;

const RANK = ['connected', 'unknown', 'silent', 'never'] as const;

/** An agency's agents, and which sites each dials. */
@Injectable()
export class Agents {
  constructor(
    private readonly orders: Orders,
    private readonly audit: Audit,
  ) {}

  /** The oldest first, `limit + 1` at most: the extra one says that there are more. */
  async list(tx: TenantTransaction, after: AgentCursor | undefined, limit: number): Promise<AgentView[]> {
    const rows = await tx.query<AgentRow>(
      `${AGENT_QUERY} AND ($2::bigint IS NULL OR (${ENROLLED_MICROSECONDS}, agent.id) > ($2, $3::uuid))
        ORDER BY agent.enrolled_at, agent.id LIMIT $4`,
      [tx.tenantId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
    return rows.map(toView);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<AgentView> {
    const [row] = await tx.query<AgentRow>(`${AGENT_QUERY} AND agent.id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('agent');
    return toView(row);
  }

  /** Where the agent stands, if anybody said so. @throws NotFoundError */
  async location(tx: TenantTransaction, id: string): Promise<Location | null> {
    const [row] = await tx.query<{ latitude: number | null; longitude: number | null }>(
      `SELECT latitude, longitude FROM agent WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id],
    );
    if (!row) throw new NotFoundError('agent');
    const { latitude, longitude } = row;
    return latitude === null || longitude === null ? null : { latitude, longitude };
  }

  /** Whether the agent may be given work. @throws NotFoundError when there is none, or it was revoked */
  async requireActive(tx: TenantTransaction, id: string): Promise<void> {
    const [row] = await tx.query(`SELECT id FROM agent WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL`, [
      tx.tenantId,
      id,
    ]);
    if (!row) throw new NotFoundError('agent');
  }

  /** Has the agent dial these sites too; each is told to admit it. Repeating it changes nothing. */
  async assign(tx: Transaction, tenantId: string, agentId: string, siteIds: readonly string[]): Promise<void> {
    const added = await tx.query<{ siteId: string; name: string; publicKey: string }>(
      `INSERT INTO agent_site (tenant_id, agent_id, site_id)
       SELECT tenant_id, id, unnest($3::uuid[]) FROM agent WHERE tenant_id = $1 AND id = $2
       ON CONFLICT DO NOTHING
       RETURNING site_id AS "siteId",
         (SELECT name FROM agent WHERE tenant_id = $1 AND id = $2) AS name,
         (SELECT public_key FROM agent WHERE tenant_id = $1 AND id = $2) AS "publicKey"`,
      [tenantId, agentId, siteIds],
    );
    for (const { siteId, name, publicKey } of added) {
      const payload = { agentId, publicKey, name };
      await this.orders.issue(tx, { siteId, tenantId, contract: admitAgentOrder, payload });
    }
  }

  /** Ends an agent for good: its sites are told at once and cut its links. @throws NotFoundError */
  async revoke(tx: TenantTransaction, id: string, actor: Actor): Promise<AgentView> {
    const changed = await tx.execute(
      `UPDATE agent SET revoked_at = now() WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL`,
      [tx.tenantId, id],
    );
    if (changed === 0) return this.get(tx, id);
    const links = await tx.query<{ siteId: string }>(
      `SELECT site_id AS "siteId" FROM agent_site WHERE tenant_id = $1 AND agent_id = $2 ORDER BY site_id`,
      [tx.tenantId, id],
    );
    for (const { siteId } of links) {
      await this.orders.issue(tx, {
        siteId,
        tenantId: tx.tenantId,
        contract: revokeAgentOrder,
        payload: { agentId: id },
      });
    }
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: 'agent.revoked',
      subjectKind: 'agent',
      subjectId: id,
    });
    return this.get(tx, id);
  }

  async keyOf(tx: Transaction, tenantId: string, id: string): Promise<string | undefined> {
    const [row] = await tx.query<{ publicKey: string }>(
      `SELECT public_key AS "publicKey" FROM agent WHERE tenant_id = $1 AND id = $2`,
      [tenantId, id],
    );
    return row?.publicKey;
  }

  /** Where an agent dials to; what it does for which site is a higher library's to say. @throws NotFoundError */
  async assignment(tx: Transaction, tenantId: string, id: string): Promise<AgentAssignment> {
    const [agency] = await tx.query<{ name: string }>(
      `SELECT agency.name FROM agent JOIN agency ON agency.id = agent.tenant_id WHERE agent.tenant_id = $1 AND agent.id = $2`,
      [tenantId, id],
    );
    if (!agency) throw new NotFoundError('agent');
    const sites = await tx.query<AgentSite>(
      `SELECT site.id AS "siteId", site.name, site.gateway_host AS host, site.gateway_port AS port,
              site.gateway_certificate_fingerprint AS "certificateFingerprint"
         FROM agent_site link JOIN site ON site.id = link.site_id
        WHERE link.tenant_id = $1 AND link.agent_id = $2 AND site.retired_at IS NULL
        ORDER BY site.name, site.id`,
      [tenantId, id],
    );
    return { agentId: id, tenantId, agencyName: agency.name, sites, workloads: [], preflights: [] };
  }
}

const dated = (value: Date | null): Date | null => (value === null ? null : new Date(value));

function toView(row: AgentRow): AgentView {
  // Inside JSON, times arrive as text.
  const sites = row.sites.map((link) => ({
    ...link,
    connectedSince: dated(link.connectedSince),
    seenAt: dated(link.seenAt),
    duplicateSeenAt: dated(link.duplicateSeenAt),
  }));
  const best = RANK.find((state) => sites.some((link) => link.state === state)) ?? 'never';
  const enrolledMicroseconds = Number(row.enrolledMicroseconds);
  return { ...row, enrolledMicroseconds, sites, state: row.revokedAt === null ? best : 'revoked' };
}
