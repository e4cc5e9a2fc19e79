import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import { makeToken } from '#libs/identity/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import { Mailer } from '#libs/platform/mail';
import { email } from './agency.js';
import type { TenantCaller } from './caller.js';
import { invitationMail } from './mails.js';
import { type Role, role } from './scopes.js';
import { AlreadyInvitedError, AlreadyMemberError, LastOwnerError } from './tenancy.errors.js';
import { TENANCY_OPTIONS, type TenancyOptions } from './tenancy.options.js';

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

export const invitationRequest = z.strictObject({ email, role, mayDeclare: z.boolean().default(false) });
export type InvitationRequest = z.infer<typeof invitationRequest>;

export const invitationView = z
  .object({
    id: z.uuid(),
    email: z.string(),
    role,
    mayDeclare: z.boolean(),
    invitedBy: z.string(),
    expiresAt: z.iso.datetime(),
  })
  .meta({ id: 'Invitation' });
export type InvitationView = z.infer<typeof invitationView>;

const INVITATION_DAYS = 7;

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

interface InvitationRow {
  readonly id: string;
  readonly email: string;
  readonly role: Role;
  readonly may_declare: boolean;
  readonly invited_by: string;
  readonly expires_at: Date;
}

const toInvitation = (row: InvitationRow): InvitationView => ({
  id: row.id,
  email: row.email,
  role: row.role,
  mayDeclare: row.may_declare,
  invitedBy: row.invited_by,
  expiresAt: row.expires_at.toISOString(),
});

const cursor = z.tuple([z.string(), z.uuid()]);

/** Who works for an agency, as what, and who may declare. An agency always has an owner. */
@Injectable()
export class Members {
  constructor(
    private readonly audit: Audit,
    private readonly mailer: Mailer,
    @Inject(TENANCY_OPTIONS) private readonly options: TenancyOptions,
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

  /** @throws NotFoundError, LastOwnerError */
  async change(tx: TenantTransaction, id: string, change: MemberChange, caller: TenantCaller): Promise<MemberView> {
    await this.keepAnOwner(tx, id, change.role === undefined || change.role === 'owner');
    const before = await this.get(tx, id);
    const [row] = await tx.query<MemberRow>(
      `UPDATE member SET role = COALESCE($3, role), may_declare = COALESCE($4, may_declare)
        WHERE tenant_id = $1 AND id = $2 RETURNING *`,
      [tx.tenantId, id, change.role ?? null, change.mayDeclare ?? null],
    );
    if (!row) throw new NotFoundError('member');
    const after = toMember(row);
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
      },
    });
    return after;
  }

  /**
   * Ends a membership; the person's sessions end with it, and so do the keys that they made.
   *
   * @throws NotFoundError, LastOwnerError
   */
  async remove(tx: TenantTransaction, id: string, caller: TenantCaller): Promise<void> {
    await this.keepAnOwner(tx, id, false);
    const member = await this.get(tx, id);
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
      detail: { email: member.email, role: member.role, revokedApiKeys: keys.map((key) => key.id) },
    });
  }

  /** Locks the owners, so that two changes at once cannot each leave the other as the last. */
  private async keepAnOwner(tx: TenantTransaction, id: string, staysOwner: boolean): Promise<void> {
    const owners = await tx.query<{ id: string }>(
      `SELECT id FROM member WHERE tenant_id = $1 AND role = 'owner' ORDER BY id FOR UPDATE`,
      [tx.tenantId],
    );
    if (!staysOwner && owners.length === 1 && owners[0]?.id === id) throw new LastOwnerError();
  }

  /** @throws AlreadyMemberError, AlreadyInvitedError */
  async invite(tx: TenantTransaction, request: InvitationRequest, caller: TenantCaller): Promise<InvitationView> {
    const known = await tx.query(`SELECT 1 FROM member WHERE tenant_id = $1 AND email = $2`, [
      tx.tenantId,
      request.email,
    ]);
    if (known.length > 0) throw new AlreadyMemberError();
    await tx.execute(
      `UPDATE invitation SET withdrawn_at = now()
        WHERE tenant_id = $1 AND email = $2 AND accepted_at IS NULL AND withdrawn_at IS NULL AND expires_at < now()`,
      [tx.tenantId, request.email],
    );
    const { token, hash } = makeToken();
    const [row] = await tx.query<InvitationRow>(
      `INSERT INTO invitation (tenant_id, id, email, role, may_declare, token_hash, invited_by, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(days => $8)) ON CONFLICT DO NOTHING RETURNING *`,
      [
        tx.tenantId,
        randomUUID(),
        request.email,
        request.role,
        request.mayDeclare,
        hash,
        caller.actor.name,
        INVITATION_DAYS,
      ],
    );
    if (!row) throw new AlreadyInvitedError();
    const [agency] = await tx.query<{ name: string }>(`SELECT name FROM agency WHERE id = $1`, [tx.tenantId]);
    await this.mailer.write(
      tx,
      invitationMail(request.email, agency?.name ?? 'an agency', caller.actor.name, token, this.options.publicUrl),
    );
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'member.invited',
      subjectKind: 'invitation',
      subjectId: row.id,
      detail: { email: request.email, role: request.role, mayDeclare: request.mayDeclare },
    });
    return toInvitation(row);
  }

  async invitations(tx: TenantTransaction, page: PageQuery): Promise<Page<InvitationView>> {
    const [afterEmail, afterId] = decodeCursor(page.cursor, cursor) ?? [null, null];
    const rows = await tx.query<InvitationRow>(
      `SELECT * FROM invitation
        WHERE tenant_id = $1 AND accepted_at IS NULL AND withdrawn_at IS NULL AND expires_at > now()
          AND ($2::text IS NULL OR (email, id) > ($2, $3::uuid))
        ORDER BY email, id LIMIT $4`,
      [tx.tenantId, afterEmail, afterId, page.limit + 1],
    );
    return toPage(rows, page.limit, (row) => [row.email, row.id], toInvitation);
  }

  /** @throws NotFoundError */
  async withdraw(tx: TenantTransaction, id: string, caller: TenantCaller): Promise<void> {
    const [row] = await tx.query<InvitationRow>(
      `UPDATE invitation SET withdrawn_at = now()
        WHERE tenant_id = $1 AND id = $2 AND accepted_at IS NULL AND withdrawn_at IS NULL RETURNING *`,
      [tx.tenantId, id],
    );
    if (!row) throw new NotFoundError('invitation');
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'invitation.withdrawn',
      subjectKind: 'invitation',
      subjectId: id,
      detail: { email: row.email },
    });
  }
}
