import type { TenantCaller } from '#libs/tenancy/control';
import type { TenantTransaction } from '#libs/platform/database';
import { AskerGoneError, AuthorityNeededError, PersonNeededError, SecondPersonNeededError } from '../archive.errors.js';

/** @throws PersonNeededError for an API key: whoever made it, it may have been copied */
export function requirePerson({ actor }: TenantCaller): void {
  if (actor.kind !== 'member') throw new PersonNeededError();
}

/** One of the two people who may take away what is kept. @throws PersonNeededError, AuthorityNeededError */
export function requireAuthority(caller: TenantCaller): void {
  requirePerson(caller);
  if (caller.role !== 'owner' && !caller.mayDeclare) throw new AuthorityNeededError();
}

/**
 * The second of two people: another one than the first, who still has the authority now.
 *
 * @throws SecondPersonNeededError, AskerGoneError
 */
export async function requireSecond(
  tx: TenantTransaction,
  first: { readonly id: string },
  { actor }: TenantCaller,
): Promise<void> {
  if (first.id === actor.id) throw new SecondPersonNeededError();
  if (!(await hasAuthority(tx, first.id))) throw new AskerGoneError();
}

/** Whether a member is one of those whose two words take away what is kept, now. */
export async function hasAuthority(tx: TenantTransaction, memberId: string): Promise<boolean> {
  const rows = await tx.query(
    `SELECT id FROM member WHERE tenant_id = $1 AND id = $2 AND (role = 'owner' OR may_declare)`,
    [tx.tenantId, memberId],
  );
  return rows.length > 0;
}
