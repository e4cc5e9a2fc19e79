import type { ReplicationNames } from '#contracts/replication';
import { ReplicationRefusedError } from './errors.js';

/** What each name is for, as the control plane makes them: `mainstay_<purpose>_` and 80 bits or more in hexadecimal. */
const PURPOSES: Readonly<Record<keyof ReplicationNames, string>> = {
  metroApplication: 'metro',
  lease: 'lease',
  metroSlot: 'slot',
  regionalSlot: 'slot',
  metroRole: 'role',
  regionalRole: 'role',
  regionalApplication: 'regional',
};

const FORM = /^mainstay_([a-z]+)_[0-9a-f]{20,40}$/;

/** Whether a protection's names are such as Mainstay makes, each for its purpose and no two the same. */
export function areOurNames(names: ReplicationNames): boolean {
  const each = Object.entries(PURPOSES) as [keyof ReplicationNames, string][];
  const distinct = new Set(each.map(([field]) => names[field]));
  return distinct.size === each.length && each.every(([field, purpose]) => FORM.exec(names[field])?.[1] === purpose);
}

/**
 * At the agency's border: a site that says other names would have the agent lay hands on a role or slot of the agency's.
 *
 * @throws ReplicationRefusedError
 */
export function requireOurNames(names: ReplicationNames): void {
  if (areOurNames(names)) return;
  throw new ReplicationRefusedError(
    'names-foreign',
    'The site asks for roles and slots under names that Mainstay does not make. The agent touches no others; tell Mainstay.',
    { detail: JSON.stringify(names) },
  );
}
