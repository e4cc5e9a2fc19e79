import { Injectable, type OnModuleInit } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Damages } from '../checks/damages.service.js';
import { RESTIC, ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { VaultService } from '../vault/vault.module.js';
import { RepositoryBusyError } from '../vault/vault-repositories.service.js';
import { AgentCare } from './agent-care.js';

/** `busy`: somebody is at work in the repository; another time. */
export type MaintenanceOutcome = 'done' | 'busy';

/** A command line has room for about a thousand ids of 64 characters. */
const IDS_AT_ONCE = 500;
const IDS_AT_AGENT = 1_000;
/** So much of the repository may be unused before packs are written anew: each rewriting doubles what must be retained. */
const MAX_UNUSED = '10%';

/** Takes snapshots, and what only they used, out of a repository: at the site, or at the agent that has the key. */
@Injectable()
export class Maintenance implements OnModuleInit {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly restic: SiteRestic,
    private readonly agent: AgentCare,
    private readonly vault: VaultService,
    private readonly damages: Damages,
  ) {}

  /**
   * A lease of a killed process would keep every client's lock out until it ends. What that process's restic still does is
   * refused from now on, and loses nothing: it takes packs away last.
   */
  async onModuleInit(): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `WITH ours AS (
           UPDATE vault_repository v SET maintained_by = NULL, maintained_until = NULL FROM archive a
            WHERE a.archive_id = v.repository_id AND a.key_mode = 'escrowed' AND v.maintained_by IS NOT NULL
            RETURNING v.repository_id)
         UPDATE vault_credential c SET ends_at = clock_timestamp() FROM ours
          WHERE c.repository_id = ours.repository_id AND c.role = 'maintain'
            AND (c.ends_at IS NULL OR c.ends_at > clock_timestamp())`,
      ),
    );
  }

  /**
   * Forgets snapshots, by id and by nothing else. What the vault retains stays: look with {@link present}.
   *
   * @throws ResticFailedError, AgentUnreachableError, AgentRefusedError
   */
  async forget(archive: ArchiveRow, snapshotIds: readonly string[], signal: AbortSignal): Promise<MaintenanceOutcome> {
    const there = await this.present(archive.archiveId, snapshotIds);
    const ids = snapshotIds.filter((id) => there.has(id));
    if (archive.keyMode === 'customer-held') return this.forgetAtAgent(archive, ids, signal);
    for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
      const some = ids.slice(at, at + IDS_AT_ONCE);
      const outcome = await this.run(archive, ['forget', '--quiet', ...some], 'forgetting recovery points', signal);
      if (outcome === 'busy') return 'busy';
    }
    return 'done';
  }

  /**
   * Takes away what no snapshot uses. Packs that are younger than the minimum age are retained by the vault, which restic
   * takes as a warning: they are named by no index from then on, and a later prune takes them first.
   *
   * @throws ResticFailedError
   */
  prune(archive: ArchiveRow, signal: AbortSignal): Promise<MaintenanceOutcome> {
    // The agent prunes with each forgetting.
    if (archive.keyMode === 'customer-held') return Promise.resolve('done');
    return this.run(archive, ['prune', '--max-unused', MAX_UNUSED], 'pruning', signal);
  }

  /** Which of these snapshots the vault has. */
  async present(archiveId: string, snapshotIds: readonly string[]): Promise<ReadonlySet<string>> {
    const there = new Set<string>();
    for (const id of snapshotIds) {
      if (await this.vault.objects.stat(archiveId, { type: 'snapshots', id })) there.add(id);
    }
    return there;
  }

  private async forgetAtAgent(
    archive: ArchiveRow,
    snapshotIds: readonly string[],
    signal: AbortSignal,
  ): Promise<MaintenanceOutcome> {
    if (snapshotIds.length === 0) return 'done';
    await this.removeDeadLocks(archive.archiveId);
    const work = { kind: 'forget', snapshotIds: snapshotIds.slice(0, IDS_AT_AGENT) } as const;
    const outcome = await this.damages.whileRemoving(archive.archiveId, () => this.agent.run(archive, work, signal));
    return outcome === 'busy' ? 'busy' : 'done';
  }

  private async run(
    archive: ArchiveRow,
    args: readonly string[],
    purpose: string,
    signal: AbortSignal,
  ): Promise<MaintenanceOutcome> {
    await this.removeDeadLocks(archive.archiveId);
    try {
      await this.damages.whileRemoving(archive.archiveId, () =>
        this.restic.run(archive.archiveId, args, { role: 'maintain', purpose, signal }),
      );
      return 'done';
    } catch (error) {
      if (error instanceof RepositoryBusyError) return 'busy';
      if (error instanceof ResticFailedError && error.exitCode === RESTIC.locked) return 'busy';
      throw error;
    }
  }

  /**
   * Locks whose credential has ended: nobody can renew them, or write, any more. restic would wait half an hour for each.
   * Others are never ended by us (restic #3126).
   */
  private async removeDeadLocks(archiveId: string): Promise<void> {
    const dead = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT l.lock_id AS id FROM vault_lock l JOIN vault_credential c USING (credential_id)
          WHERE l.repository_id = $1 AND c.ends_at <= clock_timestamp()`,
        [archiveId],
      ),
    );
    for (const { id } of dead) {
      await this.vault.objects.removeLock(archiveId, id);
      await this.work.run((tx) =>
        tx.execute(`DELETE FROM vault_lock WHERE repository_id = $1 AND lock_id = $2`, [archiveId, id]),
      );
    }
  }
}
