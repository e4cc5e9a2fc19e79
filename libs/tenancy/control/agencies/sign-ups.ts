import { Inject, Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import { hashToken, Identity, makeToken } from '#libs/identity/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { Mailer } from '#libs/platform/mail';
import { type AgencyRow, type AgencyView, email, governmentKind, nameText, stateCode, toAgency } from './agency.js';
import { confirmationMail, knownAddressMail } from '../mails.js';
import { TENANCY_OPTIONS, type TenancyOptions } from '../tenancy.options.js';
import { TokenInvalidError } from '../tenancy.errors.js';

export const signUpRequest = z.strictObject({
  agencyName: nameText(120),
  kind: governmentKind,
  state: stateCode,
  contactName: nameText(120),
  email,
});
export type SignUpRequest = z.infer<typeof signUpRequest>;

/** How long a mailed token is good for. */
export const SIGN_UP_HOURS = 24;
/** Mails to one address, over all its sign-ups: at most one a minute, and ten a day. */
const MAIL_EVERY_SECONDS = 60;
const MAILS_A_DAY = 10;
/** Open sign-ups of one address; a further one takes the place of the oldest that was never mailed. */
const OPEN_AT_MOST = 20;

interface SignUpRow {
  readonly id: string;
  readonly email: string;
  readonly agency_name: string;
  readonly government_kind: string;
  readonly state_code: string;
  readonly contact_name: string;
}

/**
 * Agencies sign up by themselves. Nothing is made before the mailed token comes back, and the password is chosen by who
 * brings it: a stranger who signs up with somebody else's address holds nothing, and gains nothing when that somebody
 * confirms it. What is answered never tells whether an address is known: a known one has its row, too, with a token
 * that nobody was sent.
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
   * Keeps the request and mails a token to confirm it; a person who has an account is told so by mail instead. Answers
   * the sign-up's id, by which a mail can be asked for again.
   */
  async request(tx: ProviderTransaction, request: SignUpRequest): Promise<string> {
    const id = randomUUID();
    const known = await this.identity.findAlone(tx, request.email);
    const { open } = await this.mailed(tx, request.email);
    if (open >= OPEN_AT_MOST) await this.giveWay(tx, request.email);
    const [row] = await tx.query<SignUpRow>(
      `INSERT INTO sign_up (id, email, agency_name, government_kind, state_code, contact_name, token_hash, mailed_at, mails, expires_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, 0, now() + make_interval(hours => $8)) RETURNING *`,
      [
        id,
        request.email,
        request.agencyName,
        request.kind,
        request.state,
        request.contactName,
        makeToken().hash,
        SIGN_UP_HOURS,
      ],
    );
    if (row) await this.mail(tx, row, known !== undefined);
    return id;
  }

  /** Mails a fresh token for this open sign-up, unless its address has had enough; the old token is void. */
  async resend(tx: ProviderTransaction, id: string): Promise<void> {
    const [row] = await tx.query<SignUpRow>(
      `SELECT * FROM sign_up WHERE id = $1 AND agency_id IS NULL AND expires_at > now()`,
      [id],
    );
    if (row) await this.mail(tx, row, (await this.identity.findAlone(tx, row.email)) !== undefined);
  }

  /** The address of the open sign-up behind a token. @throws TokenInvalidError */
  async addressOf(tx: ProviderTransaction, token: string): Promise<string> {
    const [row] = await tx.query<{ email: string }>(
      `SELECT email FROM sign_up WHERE token_hash = $1 AND agency_id IS NULL AND expires_at > now()`,
      [hashToken(token)],
    );
    if (!row) throw new TokenInvalidError();
    return row.email;
  }

  /**
   * Makes the agency, the person with this password, and the owner's membership with the authority to declare, in one
   * transaction. All other open sign-ups of the address are withdrawn.
   *
   * @throws TokenInvalidError for a wrong, used or expired token.
   */
  async confirm(tx: ProviderTransaction, token: string, passwordHash: string): Promise<AgencyView> {
    const agencyId = randomUUID();
    const address = await this.addressOf(tx, token);
    // Somebody else may have confirmed this address meanwhile, by another sign-up or an invitation.
    if (await this.identity.findAlone(tx, address)) throw new TokenInvalidError();
    const [row] = await tx.query<SignUpRow>(
      `SELECT * FROM sign_up WHERE token_hash = $1 AND agency_id IS NULL AND expires_at > now() FOR UPDATE`,
      [hashToken(token)],
    );
    if (!row) throw new TokenInvalidError();
    const userId = await this.identity.create(tx, { email: row.email, name: row.contact_name, passwordHash });
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
    await tx.execute(`UPDATE sign_up SET agency_id = $2 WHERE id = $1`, [row.id, agencyId]);
    await tx.execute(`DELETE FROM sign_up WHERE email = $1 AND agency_id IS NULL`, [row.email]);
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

  /** Strangers must not keep the owner of an address out: at most ten a day are mailed, so there is one that was not. */
  private async giveWay(tx: ProviderTransaction, address: string): Promise<void> {
    await tx.execute(
      `DELETE FROM sign_up WHERE id = (
         SELECT id FROM sign_up WHERE email = $1 AND agency_id IS NULL AND mailed_at IS NULL
          ORDER BY expires_at LIMIT 1)`,
      [address],
    );
  }

  /** Under the address's lock: see {@link Identity.findAlone}. */
  private async mail(tx: ProviderTransaction, row: SignUpRow, known: boolean): Promise<void> {
    const { mails, lately } = await this.mailed(tx, row.email);
    if (lately || mails >= MAILS_A_DAY) return;
    const { token, hash } = makeToken();
    await tx.execute(
      `UPDATE sign_up SET token_hash = $2, mailed_at = now(), mails = mails + 1, expires_at = now() + make_interval(hours => $3)
        WHERE id = $1`,
      [row.id, hash, SIGN_UP_HOURS],
    );
    const { publicUrl } = this.options;
    await this.mailer.write(
      tx,
      known
        ? knownAddressMail(row.email, row.agency_name, publicUrl)
        : confirmationMail(
            row.email,
            { name: row.agency_name, kind: row.government_kind, state: row.state_code, contact: row.contact_name },
            token,
            publicUrl,
          ),
    );
  }

  /** What an address was mailed within a day, over all its sign-ups, and how many are open. */
  private async mailed(
    tx: ProviderTransaction,
    address: string,
  ): Promise<{ mails: number; lately: boolean; open: number }> {
    const [row] = await tx.query<{ mails: number; lately: boolean; open: number }>(
      `SELECT COALESCE(sum(mails) FILTER (WHERE mailed_at > now() - interval '1 day'), 0)::int AS mails,
              COALESCE(bool_or(mailed_at > now() - make_interval(secs => $2)), false) AS lately,
              count(*) FILTER (WHERE agency_id IS NULL AND expires_at > now())::int AS open
         FROM sign_up WHERE email = $1`,
      [address, MAIL_EVERY_SECONDS],
    );
    if (!row) throw new Error('an aggregate answers one row');
    return row;
  }
}
