import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import type { StaffCaller } from '#libs/identity/control';
import type { ProviderTransaction, TenantTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { cursorText, decodeCursor, type Page, type PageQuery, toPage } from '#libs/platform/http';
import { type AgencyRow, type AgencyView, email, nameText, toAgency } from './agency.js';
import type { TenantCaller } from '../access/caller.js';

export const agencyChange = z.strictObject({
  name: nameText(120).optional(),
  contactName: nameText(120).optional(),
  contactEmail: email.optional(),
});
export type AgencyChange = z.infer<typeof agencyChange>;

const cursor = z.tuple([cursorText, z.uuid()]);

/** Agencies as they see themselves, and as the provider's staff sees them. */
@Injectable()
export class Agencies {
  constructor(private readonly audit: Audit) {}

  async own(tx: TenantTransaction): Promise<AgencyView> {
    const [row] = await tx.query<AgencyRow>(`SELECT * FROM agency WHERE id = $1`, [tx.tenantId]);
    if (!row) throw new NotFoundError('agency');
    return toAgency(row);
  }

  async change(tx: TenantTransaction, change: AgencyChange, caller: TenantCaller): Promise<AgencyView> {
    const [row] = await tx.query<AgencyRow>(
      `UPDATE agency SET name = COALESCE($2, name), contact_name = COALESCE($3, contact_name),
                         contact_email = COALESCE($4, contact_email)
        WHERE id = $1 RETURNING *`,
      [tx.tenantId, change.name ?? null, change.contactName ?? null, change.contactEmail ?? null],
    );
    if (!row) throw new NotFoundError('agency');
    await this.audit.record(tx, {
      tenantId: tx.tenantId,
      actor: caller.actor,
      action: 'agency.changed',
      subjectKind: 'agency',
      subjectId: tx.tenantId,
      detail: { ...change },
    });
    return toAgency(row);
  }

  /** All agencies, by name. The list itself shows no agency's affairs, so it leaves no trace in their logs. */
  async list(tx: ProviderTransaction, page: PageQuery): Promise<Page<AgencyView>> {
    const [afterName, afterId] = decodeCursor(page.cursor, cursor) ?? [null, null];
    const rows = await tx.query<AgencyRow>(
      `SELECT * FROM agency WHERE ($1::text IS NULL OR (name, id) > ($1, $2::uuid)) ORDER BY name, id LIMIT $3`,
      [afterName, afterId, page.limit + 1],
    );
    return toPage(rows, page.limit, (row) => [row.name, row.id], toAgency);
  }

  /**
   * Looks into an agency for staff. The look is an entry of that agency's own log, in the same transaction: no look
   * without a trace. Other libraries' staff routes call this before they read.
   *
   * @throws NotFoundError
   */
  async lookInto(tx: ProviderTransaction, agencyId: string, staff: StaffCaller, what: string): Promise<AgencyView> {
    const [row] = await tx.query<AgencyRow>(`SELECT * FROM agency WHERE id = $1`, [agencyId]);
    if (!row) throw new NotFoundError('agency');
    await this.audit.record(tx, {
      tenantId: agencyId,
      actor: staff.actor,
      action: 'staff.looked',
      subjectKind: 'agency',
      subjectId: agencyId,
      detail: { what },
    });
    return toAgency(row);
  }

  /** Shuts an agency's people and keys out, or lets them in again. Its protection goes on. @throws NotFoundError */
  async suspend(
    tx: ProviderTransaction,
    agencyId: string,
    suspended: boolean,
    reason: string,
    staff: StaffCaller,
  ): Promise<AgencyView> {
    const [row] = await tx.query<AgencyRow>(
      `UPDATE agency SET suspended_at = CASE WHEN $2 THEN COALESCE(suspended_at, now()) END WHERE id = $1 RETURNING *`,
      [agencyId, suspended],
    );
    if (!row) throw new NotFoundError('agency');
    await this.audit.record(tx, {
      tenantId: agencyId,
      actor: staff.actor,
      action: suspended ? 'agency.suspended' : 'agency.resumed',
      subjectKind: 'agency',
      subjectId: agencyId,
      detail: { reason },
    });
    return toAgency(row);
  }
}
