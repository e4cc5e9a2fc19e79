import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import { hashToken, Identity, makeToken } from '#libs/identity/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Mailer } from '#libs/platform/mail';
import { type AgencyRow, type AgencyView, email, governmentKind, plainText, stateCode, toAgency } from './agency.js';
import { confirmationMail, knownAddressMail } from './mails.js';
import { TENANCY_OPTIONS, type TenancyOptions } from './tenancy.options.js';
import { TokenInvalidError } from './tenancy.errors.js';

export const signUpRequest = z.strictObject({
  agencyName: plainText(120),
  kind: governmentKind,
  state: stateCode,
  contactName: plainText(120),
  email,
  password: z.string().min(1).max(200).meta({ description: 'At least 12 characters.' }),
});
export type SignUpRequest = z.infer<typeof signUpRequest>;

/** How long a mailed token is good for. */
export const SIGN_UP_HOURS = 24;
/** Mails to one address: at most one a minute, and ten for one sign-up. */
const MAIL_EVERY_SECONDS = 60;
const MAILS_AT_MOST = 10;

interface SignUpRow {
  readonly id: string;
  readonly email: string;
  readonly agency_name: string;
  readonly government_kind: string;
  readonly state_code: string;
  readonly contact_name: string;
  readonly password_hash: string;
}

/**
 * Agencies sign up by themselves. Nothing is made before the mailed token comes back: a stranger who signs up with
 * somebody else's address holds nothing. What is answered never tells whether an address is known.
 */
@Injectable()
export class SignUps {
  constructor(
    private readonly identity: Identity,
    private readonly mailer: Mailer,
    private readonly audit: Audit,
    @Inject(TENANCY_OPTIONS) private readonly options: TenancyOptions,
  ) {}

  /**
   * Keeps the request and mails a token to confirm it. A person who has an account is told so by mail instead.
   *
   * @throws PasswordUnfitError
   */
  async request(tx: ProviderTransaction, request: SignUpRequest, passwordHash: string): Promise<void> {
    if (await this.identity.find(tx, request.email)) {
      await this.mailer.write(tx, knownAddressMail(request.email, request.agencyName, this.options.publicUrl));
      return;
    }
    const { token, hash } = makeToken();
    await tx.execute(
      `INSERT INTO sign_up (id, email, agency_name, government_kind, state_code, contact_name, password_hash, token_hash, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(hours => $9))`,
      [
        randomUUID(),
        request.email,
        request.agencyName,
        request.kind,
        request.state,
        request.contactName,
        passwordHash,
        hash,
        SIGN_UP_HOURS,
      ],
    );
    await this.mailer.write(tx, confirmationMail(request.email, request.agencyName, token, this.options.publicUrl));
  }

  /** Mails a fresh token for the newest open sign-up of this address, if there is one; the old token is void. */
  async resend(tx: ProviderTransaction, address: string): Promise<void> {
    const { token, hash } = makeToken();
    const [row] = await tx.query<{ agency_name: string }>(
      `UPDATE sign_up SET token_hash = $2, mailed_at = now(), mails = mails + 1, expires_at = now() + make_interval(hours => $3)
        WHERE id = (SELECT id FROM sign_up WHERE email = $1 AND agency_id IS NULL AND expires_at > now()
                     ORDER BY created_at DESC LIMIT 1)
          AND mailed_at < now() - make_interval(secs => $4) AND mails < $5
        RETURNING agency_name`,
      [address, hash, SIGN_UP_HOURS, MAIL_EVERY_SECONDS, MAILS_AT_MOST],
    );
    if (row) await this.mailer.write(tx, confirmationMail(address, row.agency_name, token, this.options.publicUrl));
  }

  /**
   * Makes the agency, the person and the owner's membership, with the authority to declare, in one transaction.
   *
   * @throws TokenInvalidError for a wrong, used or expired token.
   */
  async confirm(tx: ProviderTransaction, token: string): Promise<AgencyView> {
    const agencyId = randomUUID();
    const [row] = await tx.query<SignUpRow>(
      `SELECT * FROM sign_up WHERE token_hash = $1 AND agency_id IS NULL AND expires_at > now() FOR UPDATE`,
      [hashToken(token)],
    );
    // Somebody else may have confirmed this address meanwhile, by another sign-up or an invitation.
    if (!row || (await this.identity.find(tx, row.email))) throw new TokenInvalidError();
    const userId = await this.identity.create(tx, {
      email: row.email,
      name: row.contact_name,
      passwordHash: row.password_hash,
    });
    const [agency] = await tx.query<AgencyRow>(
      `INSERT INTO agency (id, name, government_kind, state_code, contact_name, contact_email)
       VALUES ($1, $2, $3, $4, $5, $6) RETURNING *`,
      [agencyId, row.agency_name, row.government_kind, row.state_code, row.contact_name, row.email],
    );
    if (!agency) throw new Error('the agency was not written');
    const memberId = randomUUID();
    await tx.execute(
      `INSERT INTO member (tenant_id, id, user_id, email, name, role, may_declare) VALUES ($1, $2, $3, $4, $5, 'owner', true)`,
      [agencyId, memberId, userId, row.email, row.contact_name],
    );
    await tx.execute(`UPDATE sign_up SET agency_id = $2, password_hash = '' WHERE id = $1`, [row.id, agencyId]);
    await this.audit.record(tx, {
      tenantId: agencyId,
      actor: { kind: 'member', id: memberId, name: `${row.contact_name} <${row.email}>` },
      action: 'agency.signed-up',
      subjectKind: 'agency',
      subjectId: agencyId,
      detail: { name: row.agency_name, kind: row.government_kind, state: row.state_code },
    });
    return toAgency(agency);
  }
}
