import { Injectable } from '@nestjs/common';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { type Role, type Scope, scopesOfMember } from './scopes.js';

/** What a person has handed out at one agency and what still opens its door. */
export interface HandedOut {
  readonly tenantId: string;
  readonly memberId: string;
  readonly memberName: string;
  readonly invitations: readonly { readonly id: string; readonly email: string; readonly role: string }[];
  readonly apiKeys: readonly { readonly id: string; readonly name: string; readonly scopes: readonly string[] }[];
}

/** What members hand out to others, and whether they still could. It ends with them. */
@Injectable()
export class HandedOutByMembers {
  /**
   * Whether the member who made something, or the member behind the API key that made it, may still do so. Unknown
   * makers may not.
   */
  async makerStillHas(
    tx: ProviderTransaction,
    tenantId: string,
    makerId: string | null,
    scope: Scope,
  ): Promise<boolean> {
    const [row] = await tx.query<{ role: Role; mayDeclare: boolean; keyScopes: Scope[] | null }>(
      `SELECT m.role, m.may_declare AS "mayDeclare", k.scopes AS "keyScopes"
         FROM member m LEFT JOIN api_key k ON k.tenant_id = m.tenant_id AND k.id = $2 AND k.made_by = m.id
        WHERE m.tenant_id = $1 AND (m.id = $2 OR (k.id = $2 AND k.revoked_at IS NULL AND k.expires_at > now()))`,
      [tenantId, makerId],
    );
    if (!row || !scopesOfMember(row.role, row.mayDeclare).includes(scope)) return false;
    return row.keyScopes === null || row.keyScopes.includes(scope);
  }

  /** A member and all API keys that they ever made: in whose names something may have been handed out. */
  async makersOf(tx: TenantTransaction, memberId: string): Promise<string[]> {
    const keys = await tx.query<{ id: string }>(`SELECT id FROM api_key WHERE tenant_id = $1 AND made_by = $2`, [
      tx.tenantId,
      memberId,
    ]);
    return [memberId, ...keys.map(({ id }) => id)];
  }

  /** At each agency that the person works for: the open invitations and living API keys that they made. */
  async of(tx: ProviderTransaction, userId: string): Promise<HandedOut[]> {
    return tx.query<HandedOut>(
      `SELECT m.tenant_id AS "tenantId", m.id AS "memberId", m.name || ' <' || m.email || '>' AS "memberName",
              COALESCE((SELECT jsonb_agg(jsonb_build_object('id', i.id, 'email', i.email, 'role', i.role) ORDER BY i.email)
                          FROM invitation i WHERE i.tenant_id = m.tenant_id AND i.made_by = m.id
                           AND i.accepted_at IS NULL AND i.withdrawn_at IS NULL AND i.expires_at > now()), '[]') AS invitations,
              COALESCE((SELECT jsonb_agg(jsonb_build_object('id', k.id, 'name', k.name, 'scopes', k.scopes) ORDER BY k.name)
                          FROM api_key k WHERE k.tenant_id = m.tenant_id AND k.made_by = m.id
                           AND k.revoked_at IS NULL AND k.expires_at > now()), '[]') AS "apiKeys"
         FROM member m WHERE m.user_id = $1 ORDER BY m.tenant_id`,
      [userId],
    );
  }
}
