import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { degradeOrder, rearmOrder } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import type { SiteRole } from '#contracts/sites';
import { Orders } from '#libs/sites/control';
import { legsOf } from './protections/protection-orders.js';
import { Protections } from './protections/protection.service.js';
import type { ProtectionRow } from './protections/protection-store.js';
import { NoMetroLegError, NoRegionalLegError, ProtectionNotReadyError } from './replication.errors.js';

/** What production may do without the synchronous site: go on alone, or with the regional site in its place. */
export const DEGRADE_TARGETS = ['alone', 'regional'] as const;
export type DegradeTarget = (typeof DEGRADE_TARGETS)[number];

export interface DegradeGrant {
  readonly requestId: string;
  readonly workloadId: string;
  readonly epoch: number;
  /** Null for the word that ends a grant. */
  readonly to: DegradeTarget | null;
  readonly seconds: number | null;
  readonly grantedAt: Date;
}

export interface OpenGrant {
  readonly workloadId: string;
  readonly requestId: string;
  readonly epoch: number;
  readonly secondsLeft: number;
}

/** Lets the agent change the synchronous site. */
export interface OpenMove extends OpenGrant {
  readonly to: SiteRole;
}

/** What grants say about a promotion at one site of the pair. */
export interface GrantEvidence {
  /**
   * Nothing of this epoch lets production go on without that site. For the regional one that means: nothing but grants to
   * itself. An older grant may still be on its way when a newer one is given, so the newest alone proves nothing.
   */
  readonly noDegradeGranted: boolean;
  /** A grant let the regional site become the synchronous one. */
  readonly regionalGranted: boolean;
}

/** For how long a person's word to return to the metro is served to an agent that no site brings it to. */
const RETURN_SECONDS = 3_600;

/**
 * A person's word that production may go on without the synchronous site's acknowledgement, and its end. Every grant is a
 * row of its epoch, for good: a declaration says by them whether anybody could have let the agency go on without a site.
 */
@Injectable()
export class DegradeGrants {
  constructor(
    private readonly protections: Protections,
    private readonly orders: Orders,
    private readonly audit: Audit,
  ) {}

  /**
   * Both sites are ordered: the one that is the synchronous one records it, the other passes it on.
   *
   * @throws NotFoundError, NotProtectedError, DeclarationInForceError, ProtectionNotReadyError, NoMetroLegError,
   *   NoRegionalLegError
   */
  async grant(
    tx: TenantTransaction,
    workloadId: string,
    input: { readonly seconds: number; readonly reason: string; readonly to: DegradeTarget },
    actor: Actor,
  ): Promise<DegradeGrant> {
    const protection = await this.held(tx, workloadId);
    const { seconds, reason, to } = input;
    if (to === 'regional') requireRegional(protection);
    const given = await this.write(tx, protection, { kind: 'degrade', seconds, reason, to }, actor);
    const payload = { workloadId, requestId: given.requestId, seconds, reason, ...(to === 'regional' && { to }) };
    for (const { siteId } of legsOf(protection)) {
      await this.orders.issue(tx, { siteId, tenantId: tx.tenantId, contract: degradeOrder, payload });
    }
    return given;
  }

  /** Ends a grant; production waits for the metro again, also where it waits for the regional site now. @throws as {@link grant} */
  async rearm(tx: TenantTransaction, workloadId: string, reason: string, actor: Actor): Promise<DegradeGrant> {
    const protection = await this.held(tx, workloadId);
    const given = await this.write(tx, protection, { kind: 'rearm', seconds: null, reason, to: null }, actor);
    const payload = { workloadId, requestId: given.requestId };
    for (const { siteId } of legsOf(protection)) {
      await this.orders.issue(tx, { siteId, tenantId: tx.tenantId, contract: rearmOrder, payload });
    }
    return given;
  }

  /** Only worth its word while the workload's row is held. */
  async evidence(
    tx: Transaction,
    { tenantId, workloadId, epoch, metroSiteId }: ProtectionRow,
    siteId: string,
  ): Promise<GrantEvidence> {
    const [given] = await tx.query<{ alone: boolean; regional: boolean; rearm: boolean }>(
      `SELECT coalesce(bool_or(kind = 'degrade' AND target = 'alone'), false) AS alone,
              coalesce(bool_or(kind = 'degrade' AND target = 'regional'), false) AS regional,
              coalesce(bool_or(kind = 'rearm'), false) AS rearm
         FROM degrade_grant WHERE tenant_id = $1 AND workload_id = $2 AND epoch = $3`,
      [tenantId, workloadId, epoch],
    );
    const { alone, regional, rearm } = given ?? { alone: true, regional: true, rearm: true };
    const noDegradeGranted = siteId === metroSiteId ? !alone && !regional : !alone && !(regional && rearm);
    return { noDegradeGranted, regionalGranted: regional };
  }

  /** What an agent may do by the newest word on each of its workloads, unless a declaration has ended it. */
  async open(
    tx: Transaction,
    tenantId: string,
    agentId: string,
  ): Promise<{ readonly degradeGrants: OpenGrant[]; readonly moveGrants: OpenMove[] }> {
    const newest = await tx.query<OpenGrant & { kind: 'degrade' | 'rearm'; target: DegradeTarget | null }>(
      `SELECT newest.workload_id AS "workloadId", newest.id AS "requestId", newest.epoch, newest.kind, newest.target,
              extract(epoch FROM newest.ends_at - now())::float8 AS "secondsLeft"
         FROM protection p
         JOIN workload w ON w.tenant_id = p.tenant_id AND w.id = p.workload_id
         CROSS JOIN LATERAL (
           SELECT g.*, g.granted_at + make_interval(secs => coalesce(g.seconds, $3)) AS ends_at FROM degrade_grant g
            WHERE g.tenant_id = p.tenant_id AND g.workload_id = p.workload_id AND g.epoch = w.epoch
            ORDER BY g.granted_at DESC LIMIT 1) newest
        WHERE p.tenant_id = $1 AND p.agent_id = $2 AND p.state = 'protecting' AND newest.ends_at > now()
          AND (newest.kind = 'degrade' OR EXISTS (
            SELECT FROM degrade_grant g
             WHERE g.tenant_id = p.tenant_id AND g.workload_id = p.workload_id AND g.epoch = w.epoch
               AND g.kind = 'degrade' AND g.target = 'regional'))`,
      [tenantId, agentId, RETURN_SECONDS],
    );
    const served = newest.map(({ kind, target, ...grant }) => ({
      ...grant,
      to: kind === 'rearm' ? ('metro' as const) : (target ?? 'alone'),
    }));
    return {
      degradeGrants: served.flatMap(({ to, ...grant }) => (to === 'alone' ? [grant] : [])),
      moveGrants: served.flatMap(({ to, ...grant }) => (to === 'alone' ? [] : [{ ...grant, to }])),
    };
  }

  private async held(tx: TenantTransaction, workloadId: string): Promise<ProtectionRow> {
    const protection = await this.protections.held(tx, workloadId);
    if (protection.metroSiteId === null) throw new NoMetroLegError();
    return protection;
  }

  private async write(
    tx: TenantTransaction,
    { workloadId, epoch }: ProtectionRow,
    said: {
      readonly kind: 'degrade' | 'rearm';
      readonly seconds: number | null;
      readonly reason: string;
      readonly to: DegradeTarget | null;
    },
    actor: Actor,
  ): Promise<DegradeGrant> {
    const requestId = randomUUID();
    const { kind, seconds, reason, to } = said;
    const [row] = await tx.query<{ grantedAt: Date }>(
      // Of the moment at which the workload's row is held: the order of grants is that of their rows.
      `INSERT INTO degrade_grant (tenant_id, id, workload_id, epoch, kind, target, seconds, reason, granted_by, granted_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp()) RETURNING granted_at AS "grantedAt"`,
      [tx.tenantId, requestId, workloadId, epoch, kind, to, seconds, reason, actor.name],
    );
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: kind === 'degrade' ? 'protection.degrade-granted' : 'protection.rearm-requested',
      subjectKind: 'workload',
      subjectId: workloadId,
      detail: { requestId, to, seconds, reason, epoch },
    });
    return { requestId, workloadId, epoch, to, seconds, grantedAt: row?.grantedAt ?? new Date() };
  }
}

function requireRegional({ regionalSiteId, paused, state }: ProtectionRow): void {
  if (regionalSiteId === null) throw new NoRegionalLegError();
  if (paused) {
    throw new ProtectionNotReadyError(state, 'Protection is paused, so production waits for no site. Resume it first.');
  }
}
