import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { PREFLIGHT_ENDS_SECONDS, type PreflightReport, preflightOrder } from '#contracts/replication';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { Workloads, type WorkloadView } from '#libs/protection/control';
import { Agents, NoSiteError, Orders } from '#libs/sites/control';
import { KindNotReplicatedError, PreflightOpenError, TooManyPreflightsError } from '../replication.errors.js';

export const PREFLIGHT_STATES = ['running', 'passed', 'blocked', 'failed'] as const;
export type PreflightState = (typeof PREFLIGHT_STATES)[number];

export interface PreflightView {
  readonly id: string;
  readonly workloadId: string;
  readonly siteId: string;
  readonly state: PreflightState;
  readonly report: PreflightReport | null;
  /** Why it could not be run, such as an agent that is not connected. */
  readonly failure: { readonly code: string; readonly message: string } | null;
  readonly requestedAt: Date;
  readonly finishedAt: Date | null;
}

/** A passed preflight counts for so long: settings change. */
export const FRESH_MINUTES = 15;

/** Sites give up before that, whatever becomes of their word: from then on a preflight is in nobody's way. */
const OPEN_SECONDS = PREFLIGHT_ENDS_SECONDS + 60;
/** Of one agency, on all its workloads: each takes up a site and an agent for up to a minute. */
export const PREFLIGHTS_AT_ONCE = 10;

const COLUMNS = `id, workload_id AS "workloadId", site_id AS "siteId", state, report, failure,
  requested_at AS "requestedAt", finished_at AS "finishedAt"`;

/** Looks, through a site and the agent, whether a server can be replicated; changes nothing there. */
@Injectable()
export class Preflights {
  constructor(
    private readonly workloads: Workloads,
    private readonly agents: Agents,
    private readonly orders: Orders,
    private readonly audit: Audit,
  ) {}

  /** @throws NotFoundError, KindNotReplicatedError, PreflightOpenError, TooManyPreflightsError, NoSiteError when the agent dials no site */
  async start(tx: TenantTransaction, workloadId: string, actor: Actor): Promise<PreflightView> {
    const workload = await this.workloads.lock(tx, workloadId);
    if (workload.kind !== 'postgresql') throw new KindNotReplicatedError(workload.kind);
    const open = await this.open(tx, workloadId);
    if (open) throw new PreflightOpenError(open.id);
    const preflight = await this.order(tx, workload);
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action: 'preflight.started',
      subjectKind: 'workload',
      subjectId: workloadId,
      detail: { preflightId: preflight.id },
    });
    return preflight;
  }

  /**
   * Like {@link start} for a caller that holds the workload's row and records what it does itself; one that is under way
   * is answered as it is.
   */
  async order(tx: TenantTransaction, workload: WorkloadView): Promise<PreflightView> {
    const open = await this.open(tx, workload.id);
    if (open) return open;
    await this.requirePlace(tx);
    await this.agents.requireActive(tx, workload.agentId);
    const { sites } = await this.agents.get(tx, workload.agentId);
    const site = sites.find(({ state }) => state === 'connected') ?? sites[0];
    if (!site) throw new NoSiteError();
    const id = randomUUID();
    const order = await this.orders.issue(tx, {
      siteId: site.siteId,
      tenantId: tx.tenantId,
      contract: preflightOrder,
      payload: { preflightId: id, agentId: workload.agentId, workloadName: workload.name },
    });
    const [row] = await tx.query<PreflightView>(
      `INSERT INTO preflight (tenant_id, id, workload_id, site_id, order_id) VALUES ($1, $2, $3, $4, $5)
       RETURNING ${COLUMNS}`,
      [tx.tenantId, id, workload.id, site.siteId, order.id],
    );
    return row as PreflightView;
  }

  private async open(tx: TenantTransaction, workloadId: string): Promise<PreflightView | undefined> {
    const [row] = await tx.query<PreflightView>(
      `SELECT ${COLUMNS} FROM preflight
        WHERE tenant_id = $1 AND workload_id = $2 AND state = 'running'
          AND requested_at > now() - make_interval(secs => $3)
        ORDER BY requested_at DESC LIMIT 1`,
      [tx.tenantId, workloadId, OPEN_SECONDS],
    );
    return row;
  }

  /** One after another for each agency, so that two do not both take the last place. */
  private async requirePlace(tx: TenantTransaction): Promise<void> {
    await tx.query(`SELECT pg_advisory_xact_lock(hashtext('preflights of ' || $1))`, [tx.tenantId]);
    const [row] = await tx.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM preflight
        WHERE tenant_id = $1 AND state = 'running' AND requested_at > now() - make_interval(secs => $2)`,
      [tx.tenantId, OPEN_SECONDS],
    );
    if ((row?.count ?? 0) >= PREFLIGHTS_AT_ONCE) throw new TooManyPreflightsError(PREFLIGHTS_AT_ONCE);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, workloadId: string, id: string): Promise<PreflightView> {
    const [row] = await tx.query<PreflightView>(
      `SELECT ${COLUMNS} FROM preflight WHERE tenant_id = $1 AND workload_id = $2 AND id = $3`,
      [tx.tenantId, workloadId, id],
    );
    if (!row) throw new NotFoundError('preflight');
    return row;
  }

  /** The newest first, a hundred at most. @throws NotFoundError for the workload */
  async list(tx: TenantTransaction, workloadId: string): Promise<PreflightView[]> {
    await this.workloads.get(tx, workloadId);
    return tx.query<PreflightView>(
      `SELECT ${COLUMNS} FROM preflight WHERE tenant_id = $1 AND workload_id = $2 ORDER BY requested_at DESC LIMIT 100`,
      [tx.tenantId, workloadId],
    );
  }

  /** The newest answer of the last quarter of an hour, or undefined. */
  async fresh(tx: TenantTransaction, workloadId: string): Promise<PreflightView | undefined> {
    const [row] = await tx.query<PreflightView>(
      `SELECT ${COLUMNS} FROM preflight
        WHERE tenant_id = $1 AND workload_id = $2 AND state IN ('passed', 'blocked')
          AND finished_at > now() - interval '${FRESH_MINUTES} minutes'
        ORDER BY requested_at DESC LIMIT 1`,
      [tx.tenantId, workloadId],
    );
    return row;
  }
}
