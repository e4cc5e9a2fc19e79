import { Injectable } from '@nestjs/common';
import type { TenantTransaction, Transaction } from '#libs/platform/database';
import { QuotaReachedError } from './sites.errors.js';

/** Agents of one agency that are not revoked: each may hold two sessions of a gateway's memory at each of its sites. */
const AGENTS = 100;
/** Enrolment tokens of one agency that are open. */
const TOKENS = 100;

/** What one agency may have, so that an agency that anybody can sign up does not use up what all share. */
@Injectable()
export class AgentQuotas {
  /** @throws QuotaReachedError */
  async token(tx: TenantTransaction): Promise<void> {
    const [row] = await tx.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM enrolment_token
        WHERE tenant_id = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()`,
      [tx.tenantId],
    );
    if ((row?.n ?? 0) >= TOKENS) throw new QuotaReachedError('open enrolment tokens', TOKENS);
  }

  /** @throws QuotaReachedError */
  async agent(tx: Transaction, tenantId: string): Promise<void> {
    const [row] = await tx.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM agent WHERE tenant_id = $1 AND revoked_at IS NULL`,
      [tenantId],
    );
    if ((row?.n ?? 0) >= AGENTS) throw new QuotaReachedError('agents', AGENTS);
  }
}
