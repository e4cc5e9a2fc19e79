import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import { makeToken } from '#libs/identity/control';
import type { TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { cursorText, decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import { Mailer } from '#libs/platform/mail';
import { email } from '../agencies/agency.js';
import type { TenantCaller } from '../access/caller.js';
import { invitationMail } from '../mails.js';
import { type Role, role } from '../access/scopes.js';
import { AlreadyInvitedError, AlreadyMemberError, TooManyInvitationsError } from '../tenancy.errors.js';
import { TENANCY_OPTIONS, type TenancyOptions } from '../tenancy.options.js';

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
/** Of one agency, within a day: all, and those to one address. */
const INVITATIONS_A_DAY = 50;
const TO_ONE_ADDRESS_A_DAY = 3;

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

const cursor = z.tuple([cursorText, z.uuid()]);

/** Inviting people to an agency, and taking it back. Accepting is the invited person's: see Invitations. */
@Injectable()
export class Inviting {
  constructor(
    private readonly audit: Audit,
    private readonly mailer: Mailer,
    @Inject(TENANCY_OPTIONS) private readonly options: TenancyOptions,
  ) {}

  /** @throws AlreadyMemberError, AlreadyInvitedError, TooManyInvitationsError */
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
    await this.holdBack(tx, request.email);
    const { token, hash } = makeToken();
    const [row] = await tx.query<InvitationRow>(
      `INSERT INTO invitation (tenant_id, id, email, role, may_declare, token_hash, invited_by, made_by, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(days => $9)) ON CONFLICT DO NOTHING RETURNING *`,
      [
        tx.tenantId,
        randomUUID(),
        request.email,
        request.role,
        request.mayDeclare,
        hash,
        caller.actor.name,
        caller.actor.id,
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

  /**
   * An invitation is a mail to somebody who did not ask for it, in our name: an agency sends few. The agency's row is
   * locked, so that invitations at once count together.
   */
  private async holdBack(tx: TenantTransaction, address: string): Promise<void> {
    await tx.query(`SELECT FROM agency WHERE id = $1 FOR UPDATE`, [tx.tenantId]);
    const [row] = await tx.query<{ all: number; same: number }>(
      `SELECT count(*)::int AS all, (count(*) FILTER (WHERE email = $2))::int AS same FROM invitation
        WHERE tenant_id = $1 AND created_at > now() - interval '1 day'`,
      [tx.tenantId, address],
    );
    if (row && (row.all >= INVITATIONS_A_DAY || row.same >= TO_ONE_ADDRESS_A_DAY)) throw new TooManyInvitationsError();
  }

  async list(tx: TenantTransaction, page: PageQuery): Promise<Page<InvitationView>> {
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
