import { Writable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { Archives } from '../archives.service.js';
import { markForgotten } from '../points/forgotten.js';
import { Points } from '../points/points.service.js';
import { ResticFailedError } from '../restic/restic.errors.js';
import { SiteRestic } from '../restic/site-restic.js';
import { objectLabel } from '../vault/object-names.js';
import { VaultService } from '../vault/vault.module.js';

/** What restic reads all of before it does anything: an index for each of its steps, a snapshot to check and to prune. */
const TYPES = ['index', 'snapshots'] as const;
interface Listed {
  readonly name: { readonly type: (typeof TYPES)[number]; readonly id: string };
  readonly receivedAt: Date;
}

const AT_ONCE = 50;
const AGAIN_MS = 600_000;
/** Its way to say of bytes that they are too few (restic 0.19: internal/repository, LoadUnpacked). Other panics are its own. */
const TOO_FEW = /^panic: runtime error: slice bounds out of range/;
const NOT_OURS = /ciphertext verification failed|invalid character|cannot unmarshal|unexpected end of JSON/;

/**
 * Finds what somebody has added to a repository that is no part of it: bytes with the right hash that its key does not open.
 * restic gives up at the first of them, so one closes an archive to everybody. Of a customer-held archive nobody here can
 * tell them from others.
 */
@Injectable()
export class JunkObjects {
  /** By archive: what has opened once opens for ever. */
  private readonly opened = new Map<string, Set<string>>();
  private readonly looked = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly restic: SiteRestic,
    private readonly vault: VaultService,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /** Archives with which something did not work, and that were not looked at in the last ten minutes. */
  async due(limit: number): Promise<readonly string[]> {
    for (const [id, at] of this.looked) if (this.clock.monotonic() - at > AGAIN_MS) this.looked.delete(id);
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT archive_id AS id FROM archive a
          WHERE key_mode = 'escrowed' AND state IN ('active', 'paused', 'ending') AND archive_id <> ALL($2::uuid[])
            AND (retention_failures > 0
              OR EXISTS (SELECT FROM archive_check c WHERE c.archive_id = a.archive_id AND c.failure IS NOT NULL)
              OR EXISTS (SELECT FROM archive_point p WHERE p.archive_id = a.archive_id AND p.forgotten_at IS NULL
                            AND p.proof_state = 'failed')
              OR 'failed' = (SELECT r.state FROM archive_run r WHERE r.archive_id = a.archive_id AND r.ended_at IS NOT NULL
                              ORDER BY r.ended_at DESC LIMIT 1)
              OR 'failed' = (SELECT s.state FROM archive_restore s WHERE s.archive_id = a.archive_id
                                AND s.ended_at IS NOT NULL ORDER BY s.ended_at DESC LIMIT 1))
          LIMIT $1`,
        [limit, [...this.looked.keys()]],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /**
   * Lays aside what does not open, the newest first, and tells it. Only while its config opens: restic reads that first, and
   * says of a damaged one what it says of junk. Where all of some in a row is junk, the rest is left to the next time.
   *
   * @throws ResticFailedError when it is the archive that does not open
   */
  async look(archiveId: string, signal: AbortSignal): Promise<void> {
    this.looked.set(archiveId, this.clock.monotonic());
    await this.cat(archiveId, ['config'], signal);
    const listed = await this.listed(archiveId);
    const before = this.opened.get(archiveId);
    // Of those that are still there: each prune makes other indexes.
    const opened = new Set(listed.map(({ name }) => name.id).filter((id) => before?.has(id)));
    this.opened.set(archiveId, opened);
    const unknown = listed.filter(({ name }) => !opened.has(name.id));
    for (let at = 0; at < unknown.length; at += AT_ONCE) {
      const some = unknown.slice(at, at + AT_ONCE);
      let junk = 0;
      for (const { name } of some) {
        signal.throwIfAborted();
        if (await this.opens(archiveId, name, signal)) {
          opened.add(name.id);
          continue;
        }
        // Once more: its bytes may have changed since.
        await this.cat(archiveId, ['config'], signal);
        if (await this.layAside(archiveId, name)) junk += 1;
      }
      // Where so many in a row are sound, the rest is left to the next time.
      if (junk === 0 || junk === some.length) return;
    }
  }

  private async listed(archiveId: string): Promise<Listed[]> {
    const found: Listed[] = [];
    for (const type of TYPES) {
      for await (const { id, receivedAt } of this.vault.objects.list(archiveId, type)) {
        found.push({ name: { type, id }, receivedAt });
      }
    }
    return found.sort((a, b) => b.receivedAt.getTime() - a.receivedAt.getTime());
  }

  private async opens(archiveId: string, { type, id }: Listed['name'], signal: AbortSignal): Promise<boolean> {
    try {
      await this.cat(archiveId, [type === 'index' ? 'index' : 'snapshot', id], signal);
      return true;
    } catch (error) {
      if (!(error instanceof ResticFailedError)) throw error;
      if (error.messages.some((line) => TOO_FEW.test(line) || NOT_OURS.test(line))) return false;
      throw error;
    }
  }

  /** @throws ResticFailedError */
  private async cat(archiveId: string, what: readonly string[], signal: AbortSignal): Promise<void> {
    const purpose = 'finding what closes the archive';
    const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
    await this.restic.run(archiveId, ['cat', ...what, '--no-lock'], {
      role: 'read',
      purpose,
      signal,
      stdoutTo: nowhere,
    });
  }

  /** Bytes that do not hash to their name are damage, and brought back as such. */
  private async layAside(archiveId: string, name: Listed['name']): Promise<boolean> {
    if ((await this.vault.objects.look(archiveId, name)) !== 'sound') return false;
    const object = objectLabel(name);
    // Before it goes: whatever dies in between, the next look finds it again, and all that is known of it has gone.
    await this.work.run(async (tx) => {
      await tx.execute(
        `INSERT INTO archive_junk (archive_id, object) VALUES ($1, $2)
         ON CONFLICT (archive_id, object) DO UPDATE SET found_at = clock_timestamp()`,
        [archiveId, object],
      );
      // Or it would be looked for, and brought back from the second copy.
      if (name.type === 'snapshots') {
        await tx.execute(`DELETE FROM vault_snapshot WHERE repository_id = $1 AND snapshot_id = $2`, [
          archiveId,
          name.id,
        ]);
        await markForgotten(tx, this.points, archiveId, name.id, 'missing');
      }
      await this.archives.tell(tx, archiveId);
    });
    await this.vault.removed.layAside(archiveId, name, this.clock.now());
    this.logger.log.error({ archiveId, object }, 'an object was no part of its archive, and has been laid aside');
    return true;
  }
}
