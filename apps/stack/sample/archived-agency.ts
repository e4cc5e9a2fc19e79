import { ArchiveClient, type ArchiveRunView } from './archive-client.js';
import { SHARE_WORKLOAD } from './file-share.js';
import type { ProtectedAgency } from './protected-agency.js';

export interface ArchivedAgency {
  readonly client: ArchiveClient;
  /** The archive of the clerk's file share. */
  readonly shareId: string;
  /** The archive of the permits database, as dumps. */
  readonly permitsId: string;
  /** The first run of each. */
  readonly firstRuns: readonly ArchiveRunView[];
}

/** Archives a protected agency's file share and database, and waits for the first run of both. */
export async function archiveAgency(agency: ProtectedAgency, tell: (stage: string) => void): Promise<ArchivedAgency> {
  const client = new ArchiveClient(agency.client.rest);
  await agency.machine.share.fill();
  const { agentId, functionId } = agency;
  tell('archiving the clerk’s file share and a dump of the permits database');
  const workloadId = await client.filesWorkload({ agentId, functionId, name: SHARE_WORKLOAD });
  const [share, permits] = await Promise.all([
    client.archive(workloadId, agency.regionalSiteId),
    client.archive(agency.workloadId),
  ]);
  tell(`kept: ${share.retentionInWords}`);
  const firstRuns = await Promise.all([client.firstRun(share.id), client.firstRun(permits.id)]);
  return { client, shareId: share.id, permitsId: permits.id, firstRuns };
}
