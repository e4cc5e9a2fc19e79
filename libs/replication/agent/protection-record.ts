import { z } from 'zod';
import { protectionMode, replicationNames } from '#contracts/replication';

/** What must be known of a protection when no site can be asked. */
export const protectionRecord = z.strictObject({
  workloadId: z.uuid(),
  mode: protectionMode,
  names: replicationNames,
});
export type ProtectionRecord = z.infer<typeof protectionRecord>;
