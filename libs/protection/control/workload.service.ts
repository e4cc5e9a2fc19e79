import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { Agents, type Location } from '#libs/sites/control';
import { type AgencyQuota, requirePlace } from '#libs/tenancy/control';
import { Functions } from './function.service.js';
import { WorkloadNameTakenError } from './protection.errors.js';

/** What a workload is: files and a command's output can be archived, a PostgreSQL server also replicated. */
export const WORKLOAD_KINDS = ['postgresql', 'files', 'command'] as const;
export type WorkloadKind = (typeof WORKLOAD_KINDS)[number];

export interface WorkloadInput {
  readonly kind: WorkloadKind;
  /** As in the agent's own configuration: the agent reaches nothing else. */
  readonly name: string;
  readonly agentId: string;
  readonly functionId: string | null;
  readonly location: Location | null;
  /** Where the agency's own clients reach the server, for the connection strings; null when not told. */
  readonly clientAddress: { readonly host: string; readonly port: number } | null;
}

export interface WorkloadView extends WorkloadInput {
  readonly id: string;
  /** The fencing epoch in force. */
  readonly epoch: number;
  /** The site where production runs; null while it runs at the agency. */
  readonly activeSiteId: string | null;
  readonly createdAt: Date;
  /** For the next page's cursor. */
  readonly createdMicroseconds: number;
}

interface WorkloadRow extends Omit<WorkloadView, 'location' | 'clientAddress'> {
  readonly latitude: number | null;
  readonly longitude: number | null;
  readonly clientHost: string | null;
  readonly clientPort: number | null;
}

const MICROSECONDS = `(extract(epoch FROM created_at) * 1000000)::bigint`;
const COLUMNS = `id, kind, name, agent_id AS "agentId", function_id AS "functionId", latitude, longitude,
  client_host AS "clientHost", client_port AS "clientPort", epoch, active_site_id AS "activeSiteId",
  created_at AS "createdAt", ${MICROSECONDS} AS "createdMicroseconds"`;

const WORKLOADS: AgencyQuota = {
  what: 'workloads',
  most: 500,
  count: `SELECT count(*)::int AS n FROM workload WHERE tenant_id = $1 AND removed_at IS NULL`,
};

/** What may be changed of a workload afterwards. */
export type WorkloadChange = Partial<Pick<WorkloadInput, 'functionId' | 'location' | 'clientAddress'>>;

/** Things to protect that serve a function. */
@Injectable()
export class Workloads {
  constructor(
    private readonly functions: Functions,
    private readonly agents: Agents,
    private readonly audit: Audit,
  ) {}

  /** @throws NotFoundError for the agent or function, WorkloadNameTakenError, QuotaReachedError */
  async create(tx: TenantTransaction, input: WorkloadInput, actor: Actor): Promise<WorkloadView> {
    await this.agents.requireActive(tx, input.agentId);
    if (input.functionId !== null) await this.functions.get(tx, input.functionId);
    const [taken] = await tx.query(
      `SELECT id FROM workload WHERE tenant_id = $1 AND agent_id = $2 AND name = $3 AND removed_at IS NULL`,
      [tx.tenantId, input.agentId, input.name],
    );
    if (taken) throw new WorkloadNameTakenError(input.name);
    await requirePlace(tx, tx.tenantId, WORKLOADS);
    const id = randomUUID();
    await tx.execute(
      `INSERT INTO workload (tenant_id, id, kind, name, agent_id, function_id, latitude, longitude, client_host, client_port)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [tx.tenantId, id, input.kind, input.name, input.agentId, ...changeable(input)],
    );
    await this.record(tx, actor, 'workload.created', id, { kind: input.kind, name: input.name });
    return this.get(tx, id);
  }

  /** The oldest first, `limit + 1` at most. */
  async list(
    tx: TenantTransaction,
    after: readonly [number, string] | undefined,
    limit: number,
  ): Promise<WorkloadView[]> {
    const rows = await tx.query<WorkloadRow>(
      `SELECT ${COLUMNS} FROM workload WHERE tenant_id = $1 AND removed_at IS NULL
          AND ($2::bigint IS NULL OR (${MICROSECONDS}, id) > ($2, $3::uuid))
        ORDER BY created_at, id LIMIT $4`,
      [tx.tenantId, after?.[0] ?? null, after?.[1] ?? null, limit + 1],
    );
    return rows.map(toView);
  }

  /** @throws NotFoundError */
  get(tx: TenantTransaction, id: string): Promise<WorkloadView> {
    return this.read(tx, id, '');
  }

  /**
   * Reads a workload and holds its row until the transaction ends. Whoever changes what its sites are to do holds it:
   * so orders about one workload are numbered in the order in which they were decided, and a grant to degrade and a
   * declaration never pass each other.
   *
   * @throws NotFoundError
   */
  lock(tx: TenantTransaction, id: string): Promise<WorkloadView> {
    return this.read(tx, id, 'FOR UPDATE');
  }

  private async read(tx: TenantTransaction, id: string, locking: '' | 'FOR UPDATE'): Promise<WorkloadView> {
    const [row] = await tx.query<WorkloadRow>(
      `SELECT ${COLUMNS} FROM workload WHERE tenant_id = $1 AND id = $2 AND removed_at IS NULL ${locking}`,
      [tx.tenantId, id],
    );
    if (!row) throw new NotFoundError('workload');
    return toView(row);
  }

  /** @throws NotFoundError */
  async change(tx: TenantTransaction, id: string, change: WorkloadChange, actor: Actor): Promise<WorkloadView> {
    const next: WorkloadView = { ...(await this.lock(tx, id)), ...change };
    if (change.functionId) await this.functions.get(tx, change.functionId);
    await tx.execute(
      `UPDATE workload SET function_id = $3, latitude = $4, longitude = $5, client_host = $6, client_port = $7,
              version = version + 1
        WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id, ...changeable(next)],
    );
    await this.record(tx, actor, 'workload.changed', id, { ...change });
    return next;
  }

  /** Takes a workload out of the lists; whoever calls has made sure that it is not protected. @throws NotFoundError */
  async remove(tx: TenantTransaction, id: string, actor: Actor): Promise<void> {
    const { name } = await this.lock(tx, id);
    await tx.execute(`UPDATE workload SET removed_at = now(), version = version + 1 WHERE tenant_id = $1 AND id = $2`, [
      tx.tenantId,
      id,
    ]);
    await this.record(tx, actor, 'workload.removed', id, { name });
  }

  /** Notes that a site promoted the workload. An epoch never falls. */
  async promoted(
    tx: Transaction,
    workload: { readonly tenantId: string; readonly id: string; readonly epoch: number; readonly siteId: string },
  ): Promise<void> {
    await tx.execute(
      `UPDATE workload SET epoch = $3, active_site_id = $4, version = version + 1
        WHERE tenant_id = $1 AND id = $2 AND epoch <= $3`,
      [workload.tenantId, workload.id, workload.epoch, workload.siteId],
    );
  }

  private record(tx: TenantTransaction, actor: Actor, action: string, id: string, detail: Record<string, unknown>) {
    return this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action,
      subjectKind: 'workload',
      subjectId: id,
      detail,
    });
  }
}

const changeable = (input: Pick<WorkloadInput, 'functionId' | 'location' | 'clientAddress'>): unknown[] => [
  input.functionId,
  input.location?.latitude ?? null,
  input.location?.longitude ?? null,
  input.clientAddress?.host ?? null,
  input.clientAddress?.port ?? null,
];

function toView({ latitude, longitude, clientHost, clientPort, ...row }: WorkloadRow): WorkloadView {
  return {
    ...row,
    createdMicroseconds: Number(row.createdMicroseconds),
    location: latitude === null || longitude === null ? null : { latitude, longitude },
    clientAddress: clientHost === null || clientPort === null ? null : { host: clientHost, port: clientPort },
  };
}
