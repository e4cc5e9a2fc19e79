import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { degradeOrder, rearmOrder } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { Orders } from '#libs/sites/control';
import { Protections } from './protection.service.js';
import { NoMetroLegError } from './replication.errors.js';

export interface DegradeGrant {
  readonly requestId: string;
  readonly workloadId: string;
  readonly epoch: number;
  readonly seconds: number | null;
  readonly grantedAt: Date;
}

export interface OpenGrant {
  readonly workloadId: string;
  readonly requestId: string;
  readonly epoch: number;
  readonly secondsLeft: number;
}

/**
 * A person's word that production may go on without the metro's acknowledgement, and its end. Every grant is a row of
 * its epoch, for good: a declaration says by them whether anybody could have let the agency go on alone.
 */
@Injectable()
export class DegradeGrants {
  constructor(
    private readonly protections: Protections,
    private readonly orders: Orders,
    private readonly audit: Audit,
  ) {}

  /** @throws NotFoundError, NotProtectedError, DeclarationInForceError, ProtectionNotReadyError, NoMetroLegError */
  grant(
    tx: TenantTransaction,
    workloadId: string,
    input: { readonly seconds: number; readonly reason: string },
    actor: Actor,
  ): Promise<DegradeGrant> {
    return this.say(tx, 'degrade', workloadId, input, actor);
  }

  /** @throws as {@link grant} does */
  rearm(tx: TenantTransaction, workloadId: string, reason: string, actor: Actor): Promise<DegradeGrant> {
    return this.say(tx, 'rearm', workloadId, { seconds: null, reason }, actor);
  }

  private async say(
    tx: TenantTransaction,
    kind: 'degrade' | 'rearm',
    workloadId: string,
    { seconds, reason }: { readonly seconds: number | null; readonly reason: string },
    actor: Actor,
  ): Promise<DegradeGrant> {
    const { metroSiteId, epoch } = await this.protections.held(tx, workloadId);
    if (metroSiteId === null) throw new NoMetroLegError();
    const requestId = randomUUID();
    const [row] = await tx.query<{ grantedAt: Date }>(
      `INSERT INTO degrade_grant (tenant_id, id, workload_id, epoch, kind, seconds, reason, granted_by)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING granted_at AS "grantedAt"`,
      [tx.tenantId, requestId, workloadId, epoch, kind, seconds, reason, actor.name],
    );
    const order = { siteId: metroSiteId, tenantId: tx.tenantId };
    if (seconds === null) {
      await this.orders.issue(tx, { ...order, contract: rearmOrder, payload: { workloadId, requestId } });
    } else {
      const payload = { workloadId, requestId, seconds, reason };
      await this.orders.issue(tx, { ...order, contract: degradeOrder, payload });
    }
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: kind === 'degrade' ? 'protection.degrade-granted' : 'protection.rearm-requested',
      subjectKind: 'workload',
      subjectId: workloadId,
      detail: { requestId, seconds, reason, epoch },
    });
    return { requestId, workloadId, epoch, seconds, grantedAt: row?.grantedAt ?? new Date() };
  }

  /** Whether nobody has granted anything in this epoch. Only worth its word while the workload's row is held. */
  async noneIn(tx: Transaction, tenantId: string, workloadId: string, epoch: number): Promise<boolean> {
    const [row] = await tx.query(
      `SELECT id FROM degrade_grant
        WHERE tenant_id = $1 AND workload_id = $2 AND epoch = $3 AND kind = 'degrade' LIMIT 1`,
      [tenantId, workloadId, epoch],
    );
    return row === undefined;
  }

  /** Grants in force for an agent's workloads: the newest word of each, unless a declaration has ended them. */
  async open(tx: Transaction, tenantId: string, agentId: string): Promise<OpenGrant[]> {
    return tx.query<OpenGrant>(
      `SELECT newest.workload_id AS "workloadId", newest.id AS "requestId", newest.epoch,
              extract(epoch FROM newest.ends_at - now())::float8 AS "secondsLeft"
         FROM protection p
         JOIN workload w ON w.tenant_id = p.tenant_id AND w.id = p.workload_id
         CROSS JOIN LATERAL (
           SELECT g.*, g.granted_at + make_interval(secs => g.seconds) AS ends_at FROM degrade_grant g
            WHERE g.tenant_id = p.tenant_id AND g.workload_id = p.workload_id AND g.epoch = w.epoch
            ORDER BY g.granted_at DESC LIMIT 1) newest
        WHERE p.tenant_id = $1 AND p.agent_id = $2 AND p.state = 'protecting'
          AND newest.kind = 'degrade' AND newest.ends_at > now()`,
      [tenantId, agentId],
    );
  }
}
