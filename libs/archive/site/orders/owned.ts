import type { SiteTransaction } from '#libs/platform/database';
import type { ReceivedOrder } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import type { Archives } from '../archives.service.js';

/** The archive that an order is about. Another agency's is none. */
export async function owned(
  archives: Archives,
  tx: SiteTransaction,
  { payload, tenantId }: ReceivedOrder<{ archiveId: string }>,
): Promise<ArchiveRow | undefined> {
  const archive = await archives.find(tx, payload.archiveId);
  return archive && archive.tenantId === tenantId ? archive : undefined;
}
