import { Injectable } from '@nestjs/common';
import type { ProviderTransaction } from '#libs/platform/database';

export interface AgencyContacts {
  readonly agencyName: string;
  /** Each address once, in order. */
  readonly addresses: readonly string[];
}

/** Whom to tell when something happens to an agency. */
@Injectable()
export class Contacts {
  /** The agency's contact, its owners and operators, and all who may declare. Undefined when there is no such agency. */
  async of(tx: ProviderTransaction, agencyId: string): Promise<AgencyContacts | undefined> {
    const rows = await tx.query<{ agency_name: string; email: string }>(
      `SELECT a.name AS agency_name, contact.email
         FROM agency a,
              LATERAL (SELECT a.contact_email AS email
                       UNION
                       SELECT m.email FROM member m
                        WHERE m.tenant_id = a.id AND (m.role IN ('owner', 'operator') OR m.may_declare)) AS contact
        WHERE a.id = $1 ORDER BY contact.email`,
      [agencyId],
    );
    const [first] = rows;
    return first && { agencyName: first.agency_name, addresses: rows.map((row) => row.email) };
  }
}
