import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import { hashToken, Identity } from '#libs/identity/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { nameText } from '../agencies/agency.js';
import type { MemberView } from './members.js';
import type { Role } from '../access/scopes.js';
import { AlreadyMemberError, PasswordNeededError, TokenInvalidError } from '../tenancy.errors.js';

export const acceptRequest = z.strictObject({
  token: z.string().max(100),
  name: nameText(120).optional().meta({ description: 'For a new account.' }),
  password: z.string().max(200).optional().meta({ description: 'For a new account: at least 12 characters.' }),
});
export type AcceptRequest = z.infer<typeof acceptRequest>;

interface InvitationRow {
  readonly tenant_id: string;
  readonly id: string;
  readonly email: string;
  readonly role: Role;
  readonly may_declare: boolean;
}

const OPEN = `SELECT i.* FROM invitation i
    JOIN agency a ON a.id = i.tenant_id
    JOIN member m ON m.tenant_id = i.tenant_id AND m.id = i.made_by AND m.role = 'owner'
   WHERE i.token_hash = $1 AND i.accepted_at IS NULL AND i.withdrawn_at IS NULL AND i.expires_at > now()
     AND a.suspended_at IS NULL`;

/** Accepting an invitation: the mailed token proves the address, so it may also make the account. */
@Injectable()
export class Invitations {
  constructor(
    private readonly identity: Identity,
    private readonly audit: Audit,
  ) {}

  /**
   * Whom an open invitation is for, and whether that person has an account: then no password is wanted. An invitation
   * counts only while who made it could still make it.
   *
   * @throws TokenInvalidError
   */
  async invited(tx: ProviderTransaction, token: string): Promise<{ email: string; hasAccount: boolean }> {
    const [row] = await tx.query<InvitationRow>(OPEN, [hashToken(token)]);
    if (!row) throw new TokenInvalidError();
    return { email: row.email, hasAccount: (await this.identity.find(tx, row.email)) !== undefined };
  }

  /**
   * `passwordHash` is for a new account; null for a person who has one.
   *
   * @throws TokenInvalidError, PasswordNeededError, AlreadyMemberError
   */
  async accept(tx: ProviderTransaction, request: AcceptRequest, passwordHash: string | null): Promise<MemberView> {
    const [row] = await tx.query<InvitationRow>(`${OPEN} FOR UPDATE OF i`, [hashToken(request.token)]);
    if (!row) throw new TokenInvalidError();
    const person = await this.person(tx, row.email, request.name, passwordHash);
    const [member] = await tx.query<{ id: string; created_at: Date }>(
      `INSERT INTO member (tenant_id, id, user_id, email, name, role, may_declare) VALUES ($1, $2, $3, $4, $5, $6, $7)
       ON CONFLICT DO NOTHING RETURNING id, created_at`,
      [row.tenant_id, randomUUID(), person.userId, row.email, person.name, row.role, row.may_declare],
    );
    if (!member) throw new AlreadyMemberError();
    await tx.execute(`UPDATE invitation SET accepted_at = now() WHERE tenant_id = $1 AND id = $2`, [
      row.tenant_id,
      row.id,
    ]);
    await this.audit.record(tx, {
      tenantId: row.tenant_id,
      actor: { kind: 'member', id: member.id, name: `${person.name} <${row.email}>` },
      action: 'member.joined',
      subjectKind: 'member',
      subjectId: member.id,
      detail: { email: row.email, role: row.role, mayDeclare: row.may_declare },
    });
    return {
      id: member.id,
      email: row.email,
      name: person.name,
      role: row.role,
      mayDeclare: row.may_declare,
      createdAt: member.created_at.toISOString(),
    };
  }

  private async person(
    tx: ProviderTransaction,
    email: string,
    name: string | undefined,
    passwordHash: string | null,
  ): Promise<{ userId: string; name: string }> {
    const known = await this.identity.findAlone(tx, email);
    if (known !== undefined) {
      const [user] = await tx.query<{ name: string }>(`SELECT name FROM auth."user" WHERE id = $1`, [known]);
      return { userId: known, name: user?.name ?? email };
    }
    if (passwordHash === null || name === undefined) throw new PasswordNeededError();
    return { userId: await this.identity.create(tx, { email, name, passwordHash }), name };
  }
}
