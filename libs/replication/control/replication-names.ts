import { randomBytes } from 'node:crypto';
import type { ReplicationNames } from '#contracts/replication';

/**
 * New names for one protection. Any client that presents the metro's application_name satisfies synchronous commit
 * (facts: impostors), so nobody may guess them: 80 bits each.
 */
export function newReplicationNames(): ReplicationNames {
  const name = (part: string): string => `mainstay_${part}_${randomBytes(10).toString('hex')}`;
  return {
    metroApplication: name('metro'),
    lease: name('lease'),
    metroSlot: name('slot'),
    regionalSlot: name('slot'),
    metroRole: name('role'),
    regionalRole: name('role'),
    regionalApplication: name('regional'),
  };
}
