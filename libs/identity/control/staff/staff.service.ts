import { Injectable } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { type Actor, Audit } from '#libs/audit/control';
import type { ProviderTransaction } from '#libs/platform/database';
import { DomainError, NotFoundError } from '#libs/platform/errors';
import { Identity } from '../identity.service.js';
import { Refusals } from '../refusals.js';
import { TwoFactor } from '../sessions/two-factor.js';
import type { StaffCaller, StaffRole } from './staff-caller.js';

export class StaffExistsError extends DomainError {
  constructor() {
    super('conflict', 'staff.exists', 'There is a staff member with this e-mail address already.');
  }
}

export class LastAdministratorError extends DomainError {
  constructor() {
    super('conflict', 'staff.last-administrator', 'This is the last administrator: make another one first.');
  }
}

/** The installer gives passwords anew, and neither roles nor the way back in: those are an administrator's to give. */
export class StaffUnfitError extends DomainError {
  constructor(found: { readonly role: StaffRole; readonly disabled_at: Date | null }) {
    const is = found.disabled_at === null ? `has the role ${found.role}` : 'is disabled';
    super(
      'conflict',
      'staff.unfit',
      `The staff member with this e-mail address ${is}, and stays so. Use another address for an administrator.`,
    );
  }
}

export interface NewStaff {
  readonly email: string;
  readonly name: string;
  readonly role: StaffRole;
  /** From {@link Identity.hash}: made before the transaction. */
  readonly passwordHash: string;
}

export interface StaffView {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: StaffRole;
  readonly secondFactor: boolean;
  readonly createdAt: string;
  readonly disabledAt: string | null;
}

interface Row {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: StaffRole;
  readonly user_id: string;
  readonly second_factor: boolean;
  readonly created_at: Date;
  readonly disabled_at: Date | null;
}

const view = (row: Row): StaffView => ({
  id: row.id,
  email: row.email,
  name: row.name,
  role: row.role,
  secondFactor: row.second_factor,
  createdAt: row.created_at.toISOString(),
  disabledAt: row.disabled_at?.toISOString() ?? null,
});

const STAFF = `SELECT f.*, COALESCE(u."twoFactorEnabled", false) AS second_factor
  FROM auth.staff f JOIN auth."user" u ON u.id = f.user_id`;

const toCaller = (row: Row): StaffCaller => ({
  id: row.id,
  email: row.email,
  role: row.role,
  secondFactor: row.second_factor,
  actor: { kind: 'staff', id: row.id, name: `${row.name} <${row.email}>` },
});

const INSTALLER: Actor = { kind: 'system', id: null, name: 'installer' };

/** The provider's own people. They are members of no agency; what they do is in the provider's own log. */
@Injectable()
export class Staff {
  constructor(
    private readonly identity: Identity,
    private readonly twoFactor: TwoFactor,
    private readonly refusals: Refusals,
    private readonly audit: Audit,
  ) {}

  /**
   * Makes a staff member with a password. `maker` is null for the installer, which makes the first administrator.
   *
   * @throws StaffExistsError
   */
  async create(tx: ProviderTransaction, staff: NewStaff, maker: StaffCaller | null): Promise<StaffView> {
    const email = staff.email.toLowerCase();
    // One address is one person: somebody with an agency's account gets no second password here.
    if (await this.identity.findAlone(tx, email)) throw new StaffExistsError();
    const userId = await this.identity.create(tx, {
      email,
      name: staff.name,
      passwordHash: staff.passwordHash,
    });
    const [row] = await tx.query<Row>(
      `INSERT INTO auth.staff (id, user_id, email, name, role) VALUES ($1, $2, $3, $4, $5)
       RETURNING *, false AS second_factor`,
      [randomUUID(), userId, email, staff.name, staff.role],
    );
    if (!row) throw new Error('the staff member was not written');
    await this.audit.record(tx, {
      tenantId: null,
      actor: maker?.actor ?? INSTALLER,
      action: 'staff.made',
      subjectKind: 'staff',
      subjectId: row.id,
      detail: { email, role: staff.role },
    });
    return view(row);
  }

  /**
   * For the installer: makes the administrator, or gives the one with this address the password anew, after which no
   * source of before is trusted. Safe to repeat.
   *
   * @throws StaffUnfitError for somebody else with this address, StaffExistsError for a member of an agency
   */
  async ensureAdministrator(tx: ProviderTransaction, staff: Omit<NewStaff, 'role'>): Promise<StaffView> {
    const known = await this.withAddress(tx, staff.email);
    if (!known) return this.create(tx, { ...staff, role: 'administrator' }, null);
    if (known.role !== 'administrator' || known.disabled_at !== null) throw new StaffUnfitError(known);
    await this.identity.setPassword(tx, known.user_id, staff.passwordHash);
    await this.refusals.forgetSources(tx, known.user_id);
    await this.audit.record(tx, {
      tenantId: null,
      actor: INSTALLER,
      action: 'staff.password-set',
      subjectKind: 'staff',
      subjectId: known.id,
      detail: { email: known.email },
    });
    return view(known);
  }

  async list(tx: ProviderTransaction): Promise<StaffView[]> {
    return (await tx.query<Row>(`${STAFF} ORDER BY f.email`)).map(view);
  }

  /** @throws NotFoundError, LastAdministratorError */
  async disable(tx: ProviderTransaction, id: string, by: StaffCaller): Promise<void> {
    const administrators = await tx.query<{ id: string }>(
      `SELECT id FROM auth.staff WHERE role = 'administrator' AND disabled_at IS NULL ORDER BY id FOR UPDATE`,
    );
    if (administrators.length === 1 && administrators[0]?.id === id) throw new LastAdministratorError();
    const [row] = await tx.query<Row>(
      `UPDATE auth.staff SET disabled_at = now() WHERE id = $1 AND disabled_at IS NULL RETURNING *`,
      [id],
    );
    if (!row) throw new NotFoundError('staff member');
    await tx.execute(`DELETE FROM auth.session WHERE "userId" = $1`, [row.user_id]);
    await this.audit.record(tx, {
      tenantId: null,
      actor: by.actor,
      action: 'staff.disabled',
      subjectKind: 'staff',
      subjectId: id,
      detail: { email: row.email },
    });
  }

  /**
   * Takes a staff member's second factor away, who has lost it, and ends their sessions: the next sign-in sets it up
   * anew. `by` is null for the installer.
   *
   * @throws NotFoundError
   */
  async resetSecondFactor(tx: ProviderTransaction, id: string, by: StaffCaller | null): Promise<void> {
    const [row] = await tx.query<Row>(`${STAFF} WHERE f.id = $1`, [id]);
    if (!row) throw new NotFoundError('staff member');
    await this.twoFactor.reset(tx, row.user_id);
    await this.audit.record(tx, {
      tenantId: null,
      actor: by?.actor ?? INSTALLER,
      action: 'staff.second-factor-reset',
      subjectKind: 'staff',
      subjectId: id,
      detail: { email: row.email },
    });
  }

  /** The same by the address, for the installer, and nothing else of them changes. @throws NotFoundError */
  async resetSecondFactorOf(tx: ProviderTransaction, email: string): Promise<string> {
    const row = await this.withAddress(tx, email);
    if (!row) throw new NotFoundError('staff member');
    await this.resetSecondFactor(tx, row.id, null);
    return row.id;
  }

  /** The staff member behind a person, unless disabled. */
  async ofUser(tx: ProviderTransaction, userId: string): Promise<StaffCaller | undefined> {
    const [row] = await tx.query<Row>(`${STAFF} WHERE f.user_id = $1 AND f.disabled_at IS NULL`, [userId]);
    return row && toCaller(row);
  }

  /** The staff member whose session this is: one SELECT. */
  async ofSession(tx: ProviderTransaction, token: string): Promise<StaffCaller | undefined> {
    const [row] = await tx.query<Row>(
      `${STAFF} JOIN auth.session s ON s."userId" = f.user_id
        WHERE s.token = $1 AND s."expiresAt" > now() AND s."audience" = 'staff' AND f.disabled_at IS NULL`,
      [token],
    );
    return row && toCaller(row);
  }

  private async withAddress(tx: ProviderTransaction, email: string): Promise<Row | undefined> {
    const [row] = await tx.query<Row>(`${STAFF} WHERE f.email = $1`, [email.toLowerCase()]);
    return row;
  }
}
