import { Injectable } from '@nestjs/common';
import type { CopyAccess } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';
import { ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { CopySite } from './copy-site.js';
import { RemoteVault } from './remote-vault.js';

const EVERY_MS = 86_400_000;
const IDS_AT_ONCE = 500;
const AUTHORITY = 'copy.pem';

/**
 * Lets recovery points go from the second copy that were let go here: those and no others, whatever is missing here. What
 * only they used is found by restic in the copy itself, so that a disk lost here takes nothing there; and the copy's own
 * minimum age is the keeper's to hold.
 *
 * Of a customer-held archive nothing is removed: nobody here can read which packs are still used.
 */
@Injectable()
export class CopyForgetting {
  private readonly followed = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly site: CopySite,
    private readonly restic: SiteRestic,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /** Once a day at the most, and not under a hold. What fails is done another day. */
  async follow(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const { archiveId, keyMode } = archive;
    const now = this.clock.now().getTime();
    if (keyMode !== 'escrowed' || now - (this.followed.get(archiveId) ?? 0) < EVERY_MS) return;
    const forgotten = await this.forgotten(archiveId);
    if (forgotten.length === 0) return;
    try {
      const ids = await this.site.with(archive, signal, (copy) => presentIn(copy, forgotten, signal));
      if (ids.length > 0) {
        await this.site.maintaining(archive, signal, (access) => this.forget(archive, access, ids, signal));
      }
      this.followed.set(archiveId, now);
    } catch (error) {
      if (signal.aborted) throw error;
      this.logger.log.warn({ archiveId, reason: errorText(error) }, 'a second copy could not be tidied up');
    }
  }

  /** To look again before the day is over. */
  again(archiveId: string): void {
    this.followed.delete(archiveId);
  }

  /** What retention, or two people, have let go; nothing while an unusual change is looked into, or under a hold. */
  private async forgotten(archiveId: string): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT p.snapshot_id AS id FROM archive_point p JOIN vault_repository v ON v.repository_id = p.archive_id
          WHERE p.archive_id = $1 AND p.forgotten_because IN ('retention', 'two-people') AND v.held_because IS NULL`,
        [archiveId],
      ),
    );
    return rows.map(({ id }) => id);
  }

  private async forget(
    { archiveId }: ArchiveRow,
    access: CopyAccess,
    ids: readonly string[],
    signal: AbortSignal,
  ): Promise<void> {
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

async function presentIn(copy: RemoteVault, ids: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
  const there = await copy.list('snapshots', signal);
  return ids.filter((id) => there.has(id));
}
