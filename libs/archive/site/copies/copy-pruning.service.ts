import { Injectable } from '@nestjs/common';
import type { CopyAccess } from '#contracts/archive';
import type { ArchiveRow } from '../archive.row.js';
import { ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { AgentCare } from '../retention/agent-care.js';

const IDS_AT_ONCE = 500;
const AUTHORITY = 'copy.pem';

/**
 * Forgets recovery points at the second copy. What only they used is found by restic in the copy itself, so that a disk lost
 * here takes nothing there. Of a customer-held archive the agent does it: nobody here can read which packs are still used.
 */
@Injectable()
export class CopyPruning {
  constructor(
    private readonly restic: SiteRestic,
    private readonly agent: AgentCare,
  ) {}

  /** @throws ResticFailedError, AgentCareError, AgentUnreachableError, AgentRefusedError */
  async forget(archive: ArchiveRow, access: CopyAccess, ids: readonly string[], signal: AbortSignal): Promise<void> {
    const { archiveId, keyMode } = archive;
    if (keyMode === 'customer-held') return this.agent.tidyCopy(archive, access, ids, signal);
    const run = (args: readonly string[]) =>
      this.restic.run(archiveId, args, {
        // Of this site's own repository nothing is used but the password.
        role: 'read',
        purpose: 'forgetting recovery points at the second copy',
        signal,
        files: access.authority === null ? {} : { [AUTHORITY]: access.authority },
        environment: {
          RESTIC_REPOSITORY: `rest:${access.url}`,
          RESTIC_REST_USERNAME: access.user,
          RESTIC_REST_PASSWORD: access.secret,
          RESTIC_CACERT: access.authority === null ? '' : AUTHORITY,
        },
      });
    for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
      await run(['forget', '--no-cache', '--quiet', ...ids.slice(at, at + IDS_AT_ONCE)]).catch(retained);
    }
    // Packs that are partly used are left: they would be written anew here and there, and differ.
    await run(['prune', '--no-cache', '--max-repack-size', '0']);
  }
}

/** The keeper's minimum age is not over for all of them. */
function retained(error: unknown): void {
  const refused = error instanceof ResticFailedError && error.messages.some((message) => /remove|403/.test(message));
  if (!refused) throw error;
}
