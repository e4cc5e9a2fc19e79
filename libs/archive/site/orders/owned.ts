import type { SiteTransaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
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

/** @throws NotFoundError when it is another agency's, or there is none. */
export async function requireOwned(...asked: Parameters<typeof owned>): Promise<ArchiveRow> {
  const archive = await owned(...asked);
  if (!archive) throw new NotFoundError('archive');
  return archive;
}
