import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { cursorText, decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import type { TenantCaller } from '../access/caller.js';
import { HandedOutByMembers } from '../access/handed-out.js';
import { type Role, role, scopesOfMember } from '../access/scopes.js';
import { LastOwnerError } from '../tenancy.errors.js';

export const memberView = z
  .object({
    id: z.uuid(),
    email: z.string(),
    name: z.string(),
    role,
    mayDeclare: z.boolean(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Member' });
export type MemberView = z.infer<typeof memberView>;

export const memberChange = z.strictObject({
  role: role.optional(),
  mayDeclare: z.boolean().optional().meta({ description: 'The authority to declare a failover.' }),
});
export type MemberChange = z.infer<typeof memberChange>;

interface MemberRow {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly may_declare: boolean;
  readonly created_at: Date;
}

const toMember = (row: MemberRow): MemberView => ({
  id: row.id,
  email: row.email,
  name: row.name,
  role: row.role,
  mayDeclare: row.may_declare,
  createdAt: row.created_at.toISOString(),
});

const cursor = z.tuple([cursorText, z.uuid()]);

/** Who works for an agency, as what, and who may declare. An agency always has an owner. */
@Injectable()
export class Members {
  constructor(
    private readonly audit: Audit,
    private readonly handedOut: HandedOutByMembers,
  ) {}

  async list(tx: TenantTransaction, page: PageQuery): Promise<Page<MemberView>> {
    const [afterEmail, afterId] = decodeCursor(page.cursor, cursor) ?? [null, null];
    const rows = await tx.query<MemberRow>(
      `SELECT * FROM member WHERE tenant_id = $1 AND ($2::text IS NULL OR (email, id) > ($2, $3::uuid))
        ORDER BY email, id LIMIT $4`,
      [tx.tenantId, afterEmail, afterId, page.limit + 1],
    );
    return toPage(rows, page.limit, (row) => [row.email, row.id], toMember);
  }

  /** @throws NotFoundError */
  async get(tx: TenantTransaction, id: string): Promise<MemberView> {
    const [row] = await tx.query<MemberRow>(`SELECT * FROM member WHERE tenant_id = $1 AND id = $2`, [tx.tenantId, id]);
    if (!row) throw new NotFoundError('member');
    return toMember(row);
  }

  /**
   * Changes a member's role or authority. What the member handed out and could no longer hand out ends: invitations
   * with the role of owner; `makers` are those in whose names the caller's other libraries may hold more.
   *
   * @throws NotFoundError, LastOwnerError
   */
  async change(
    tx: TenantTransaction,
    id: string,
    change: MemberChange,
    caller: TenantCaller,
  ): Promise<{ member: MemberView; makers: readonly string[] }> {
    await this.keepAnOwner(tx, id, change.role === undefined || change.role === 'owner');
    const before = await this.get(tx, id);
    const [row] = await tx.query<MemberRow>(
      `UPDATE member SET role = COALESCE($3, role), may_declare = COALESCE($4, may_declare)
        WHERE tenant_id = $1 AND id = $2 RETURNING *`,
      [tx.tenantId, id, change.role ?? null, change.mayDeclare ?? null],
    );
    if (!row) throw new NotFoundError('member');
    const after = toMember(row);
    const withdrawn = after.role === 'owner' ? [] : await this.withdrawInvitations(tx, id);
    const lost = !scopesOfMember(after.role, after.mayDeclare).includes('agents:write');
    const makers = lost ? await this.handedOut.makersOf(tx, id) : [];
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'member.changed',
      subjectKind: 'member',
      subjectId: id,
      detail: {
        email: after.email,
        before: { role: before.role, mayDeclare: before.mayDeclare },
        after: { role: after.role, mayDeclare: after.mayDeclare },
        ...(withdrawn.length > 0 ? { withdrawnInvitations: withdrawn } : {}),
      },
    });
    return { member: after, makers };
  }

  /**
   * Ends a membership; the person's sessions end with it, and so do the keys and invitations that they made. Answers
   * in whose names other libraries may hold what the person handed out.
   *
   * @throws NotFoundError, LastOwnerError
   */
  async remove(tx: TenantTransaction, id: string, caller: TenantCaller): Promise<readonly string[]> {
    await this.keepAnOwner(tx, id, false);
    const member = await this.get(tx, id);
    const makers = await this.handedOut.makersOf(tx, id);
    const invitations = await this.withdrawInvitations(tx, id);
    await tx.execute(`DELETE FROM member WHERE tenant_id = $1 AND id = $2`, [tx.tenantId, id]);
    const keys = await tx.query<{ id: string }>(
      `UPDATE api_key SET revoked_at = now() WHERE tenant_id = $1 AND made_by = $2 AND revoked_at IS NULL RETURNING id`,
      [tx.tenantId, id],
    );
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'member.removed',
      subjectKind: 'member',
      subjectId: id,
      detail: {
        email: member.email,
        role: member.role,
        revokedApiKeys: keys.map((key) => key.id),
        withdrawnInvitations: invitations,
      },
    });
    return makers;
  }

  private async withdrawInvitations(tx: TenantTransaction, makerId: string): Promise<string[]> {
    const rows = await tx.query<{ email: string }>(
      `UPDATE invitation SET withdrawn_at = now()
        WHERE tenant_id = $1 AND made_by = $2 AND accepted_at IS NULL AND withdrawn_at IS NULL RETURNING email`,
      [tx.tenantId, makerId],
    );
    return rows.map((row) => row.email);
  }

  /** Locks the owners, so that two changes at once cannot each leave the other as the last. */
  private async keepAnOwner(tx: TenantTransaction, id: string, staysOwner: boolean): Promise<void> {
    const owners = await tx.query<{ id: string }>(
      `SELECT id FROM member WHERE tenant_id = $1 AND role = 'owner' ORDER BY id FOR UPDATE`,
      [tx.tenantId],
    );
    if (!staysOwner && owners.length === 1 && owners[0]?.id === id) throw new LastOwnerError();
  }
}
