import { Injectable } from '@nestjs/common';
import { Audit } from '#libs/audit/control';
import { Identity, SessionTokens } from '#libs/identity/control';
import type { ProviderTransaction } from '#libs/platform/database';
import type { TenantCaller } from '../access/caller.js';
import { type Role, scopesOfMember } from '../access/scopes.js';
import { AgencyChoiceError } from '../tenancy.errors.js';

interface MemberRow {
  readonly tenant_id: string;
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly may_declare: boolean;
  readonly agency_name: string;
}

const toCaller = (row: MemberRow): TenantCaller => ({
  tenantId: row.tenant_id,
  actor: { kind: 'member', id: row.id, name: `${row.name} <${row.email}>` },
  role: row.role,
  mayDeclare: row.may_declare,
  scopes: scopesOfMember(row.role, row.may_declare),
});

export interface OpenedSession {
  readonly token: string;
  readonly expiresAt: string;
  readonly caller: TenantCaller;
}

/** Sessions of members: each is for one agency, and ends with the membership. */
@Injectable()
export class MemberSessions {
  constructor(
    private readonly identity: Identity,
    private readonly tokens: SessionTokens,
    private readonly audit: Audit,
  ) {}

  /**
   * Gives a fresh session to the agency that the person works for. Undefined when there is none: the caller answers
   * as for a wrong password.
   *
   * @throws AgencyChoiceError when there are several and `agencyId` names none.
   */
  async open(
    tx: ProviderTransaction,
    signedIn: { readonly userId: string; readonly token: string },
    agencyId: string | undefined,
  ): Promise<OpenedSession | undefined> {
    const rows = await tx.query<MemberRow>(
      `SELECT m.*, a.name AS agency_name FROM member m JOIN agency a ON a.id = m.tenant_id
        WHERE m.user_id = $1 AND a.suspended_at IS NULL ORDER BY a.name, a.id`,
      [signedIn.userId],
    );
    const chosen = agencyId === undefined ? rows : rows.filter((row) => row.tenant_id === agencyId);
    if (chosen.length > 1)
      throw new AgencyChoiceError(rows.map((row) => ({ id: row.tenant_id, name: row.agency_name })));
    const [member] = chosen;
    if (!member) {
      await this.identity.endSession(tx, signedIn.token);
      return undefined;
    }
    const caller = toCaller(member);
    const session = await this.identity.dedicate(tx, signedIn.token, {
      audience: 'member',
      tenantId: member.tenant_id,
    });
    await this.audit.record(tx, {
      tenantId: member.tenant_id,
      actor: caller.actor,
      action: 'session.opened',
      subjectKind: 'member',
      subjectId: member.id,
    });
    return { token: session.token, expiresAt: session.expiresAt.toISOString(), caller };
  }

  /** Records what a person did to their own account in the log of each agency that they work for, in a fixed order. */
  async recordForPerson(tx: ProviderTransaction, userId: string, action: string): Promise<void> {
    const rows = await tx.query<MemberRow>(
      `SELECT m.*, a.name AS agency_name FROM member m JOIN agency a ON a.id = m.tenant_id
        WHERE m.user_id = $1 ORDER BY m.tenant_id`,
      [userId],
    );
    for (const row of rows) {
      const { actor, tenantId } = toCaller(row);
      await this.audit.record(tx, { tenantId, actor, action, subjectKind: 'member', subjectId: row.id });
    }
  }

  /** True for what was signed here: a session of ours, though it may have ended. */
  isOurs(credential: string): boolean {
    return this.tokens.verify(credential) !== undefined;
  }

  /**
   * The member whose session this is: an HMAC check and one SELECT, over identity's session table on purpose (a
   * session's look-up is on the way of every request).
   */
  async caller(
    tx: ProviderTransaction,
    credential: string,
  ): Promise<{ caller: TenantCaller; token: string } | undefined> {
    const token = this.tokens.verify(credential);
    if (token === undefined) return undefined;
    const [row] = await tx.query<MemberRow>(
      `SELECT m.*, a.name AS agency_name
         FROM auth.session s
         JOIN member m ON m.tenant_id = s."tenantId" AND m.user_id = s."userId"
         JOIN agency a ON a.id = m.tenant_id
        WHERE s.token = $1 AND s."expiresAt" > now() AND s."audience" = 'member' AND a.suspended_at IS NULL`,
      [token],
    );
    return row && { caller: toCaller(row), token };
  }
}
