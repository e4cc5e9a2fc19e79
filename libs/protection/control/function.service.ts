import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type Actor, Audit } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { type AgencyQuota, requirePlace } from '#libs/tenancy/control';
import { FunctionInUseError, FunctionNameTakenError, RtoNotBelowMtdError } from './protection.errors.js';

/** Objectives of an essential function, in seconds (NIST SP 800-34; FEMA's continuity guidance). */
export interface FunctionInput {
  readonly name: string;
  /** Maximum tolerable downtime. */
  readonly mtdSeconds: number;
  /** Recovery time objective; below the MTD. */
  readonly rtoSeconds: number;
  /** Recovery point objective. */
  readonly rpoSeconds: number;
  /** 1 is recovered first. */
  readonly priority: number;
}

export interface FunctionView extends FunctionInput {
  readonly id: string;
  readonly createdAt: Date;
}

const COLUMNS = `id, name, mtd_seconds AS "mtdSeconds", rto_seconds AS "rtoSeconds", rpo_seconds AS "rpoSeconds",
  priority, created_at AS "createdAt"`;

const FUNCTIONS: AgencyQuota = {
  what: 'essential functions',
  most: 500,
  count: `SELECT count(*)::int AS n FROM essential_function WHERE tenant_id = $1`,
};

/** What an agency must keep doing. */
@Injectable()
export class Functions {
  constructor(private readonly audit: Audit) {}

  /** @throws RtoNotBelowMtdError, FunctionNameTakenError, QuotaReachedError */
  async create(tx: TenantTransaction, input: FunctionInput, actor: Actor): Promise<FunctionView> {
    const id = randomUUID();
    await this.check(tx, input, id);
    await requirePlace(tx, tx.tenantId, FUNCTIONS);
    const [row] = await tx.query<FunctionView>(
      `INSERT INTO essential_function (tenant_id, id, name, mtd_seconds, rto_seconds, rpo_seconds, priority)
       VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING ${COLUMNS}`,
      [tx.tenantId, id, input.name, input.mtdSeconds, input.rtoSeconds, input.rpoSeconds, input.priority],
    );
    await this.record(tx, actor, 'function.created', id, { ...input });
    return row as FunctionView;
  }

  /** By priority, then name; `limit + 1` at most. */
  async list(
    tx: TenantTransaction,
    after: readonly [number, string, string] | undefined,
    limit: number,
  ): Promise<FunctionView[]> {
    return tx.query<FunctionView>(
      `SELECT ${COLUMNS} FROM essential_function WHERE tenant_id = $1
          AND ($2::int IS NULL OR (priority, name, id) > ($2, $3, $4::uuid))
        ORDER BY priority, name, id LIMIT $5`,
      [tx.tenantId, after?.[0] ?? null, after?.[1] ?? null, after?.[2] ?? null, limit + 1],
    );
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<FunctionView> {
    const [row] = await tx.query<FunctionView>(
      `SELECT ${COLUMNS} FROM essential_function WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id],
    );
    if (!row) throw new NotFoundError('function');
    return row;
  }

  /** Changes what is given. @throws NotFoundError, RtoNotBelowMtdError, FunctionNameTakenError */
  async change(tx: TenantTransaction, id: string, change: Partial<FunctionInput>, actor: Actor): Promise<FunctionView> {
    await tx.query(`SELECT id FROM essential_function WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [tx.tenantId, id]);
    const next: FunctionInput = { ...(await this.get(tx, id)), ...change };
    await this.check(tx, next, id);
    await tx.execute(
      `UPDATE essential_function SET name = $3, mtd_seconds = $4, rto_seconds = $5, rpo_seconds = $6, priority = $7,
              version = version + 1
        WHERE tenant_id = $1 AND id = $2`,
      [tx.tenantId, id, next.name, next.mtdSeconds, next.rtoSeconds, next.rpoSeconds, next.priority],
    );
    await this.record(tx, actor, 'function.changed', id, { ...change });
    return this.get(tx, id);
  }

  /** @throws NotFoundError, FunctionInUseError */
  async remove(tx: TenantTransaction, id: string, actor: Actor): Promise<void> {
    const { name } = await this.get(tx, id);
    const [used] = await tx.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM workload WHERE tenant_id = $1 AND function_id = $2 AND removed_at IS NULL`,
      [tx.tenantId, id],
    );
    if (used && used.count > 0) throw new FunctionInUseError(used.count);
    await tx.execute(
      `UPDATE workload SET function_id = NULL WHERE tenant_id = $1 AND function_id = $2 AND removed_at IS NOT NULL`,
      [tx.tenantId, id],
    );
    await tx.execute(`DELETE FROM essential_function WHERE tenant_id = $1 AND id = $2`, [tx.tenantId, id]);
    await this.record(tx, actor, 'function.removed', id, { name });
  }

  private async check(tx: TenantTransaction, input: FunctionInput, but: string): Promise<void> {
    if (input.rtoSeconds >= input.mtdSeconds) throw new RtoNotBelowMtdError(input.rtoSeconds, input.mtdSeconds);
    const [taken] = await tx.query(
      `SELECT id FROM essential_function WHERE tenant_id = $1 AND lower(name) = lower($2) AND id <> $3`,
      [tx.tenantId, input.name, but],
    );
    if (taken) throw new FunctionNameTakenError(input.name);
  }

  private record(tx: TenantTransaction, actor: Actor, action: string, id: string, detail: Record<string, unknown>) {
    return this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor,
      action,
      subjectKind: 'function',
      subjectId: id,
      detail,
    });
  }
}
