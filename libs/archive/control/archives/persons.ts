import type { TenantCaller } from '#libs/tenancy/control';
import { AuthorityNeededError, PersonNeededError } from '../archive.errors.js';

/** @throws PersonNeededError for an API key: whoever made it, it may have been copied */
export function requirePerson({ actor }: TenantCaller): void {
  if (actor.kind !== 'member') throw new PersonNeededError();
}

/** One of the two people who may take away what is kept. @throws PersonNeededError, AuthorityNeededError */
export function requireAuthority(caller: TenantCaller): void {
  requirePerson(caller);
  if (caller.role !== 'owner' && !caller.mayDeclare) throw new AuthorityNeededError();
}
