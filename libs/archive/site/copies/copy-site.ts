import { Injectable } from '@nestjs/common';
import {
  type CopyAccess,
  copyAccessCommand,
  copyDoneCommand,
  copyEndCommand,
  copyRenewCommand,
} from '#contracts/archive';
import { pause } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { PeerSites } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { RemoteVault } from './remote-vault.js';

const CALL_MS = 20_000;

/** The site that keeps an archive's second copy. */
@Injectable()
export class CopySite {
  constructor(
    private readonly peers: PeerSites,
    private readonly logger: AppLogger,
  ) {}

  /** @throws PeerUnreachableError, PeerRefusedError; TypeError when the archive has no second site */
  access(archive: ArchiveRow, role: 'append' | 'maintain', signal: AbortSignal): Promise<CopyAccess> {
    const { second, workloadId, archiveId } = archive;
    if (second === null) throw new TypeError(`archive ${archiveId} has no second copy`);
    const input = { workloadId, archiveId, role };
    return this.peers.call({ peer: second, workloadId }, copyAccessCommand, input, { timeoutMs: CALL_MS, signal });
  }

  /** To be called when an access is not needed any more; it ends by itself when this does not get through. */
  async done({ second, workloadId, archiveId }: ArchiveRow, { user }: CopyAccess): Promise<void> {
    if (second === null) return;
    const input = { workloadId, archiveId, user };
    try {
      await this.peers.call({ peer: second, workloadId }, copyDoneCommand, input, { timeoutMs: CALL_MS });
    } catch (error) {
      this.logger.log.info({ archiveId, reason: errorText(error) }, 'an access to a copy ends by itself');
    }
  }

  /** @returns whether the copy is gone. @throws PeerUnreachableError, PeerRefusedError; TypeError as {@link access} */
  async end({ second, workloadId, archiveId }: ArchiveRow, signal: AbortSignal): Promise<boolean> {
    if (second === null) throw new TypeError(`archive ${archiveId} has no second copy`);
    const ways = { timeoutMs: CALL_MS, signal };
    const input = { workloadId, archiveId };
    return (await this.peers.call({ peer: second, workloadId }, copyEndCommand, input, ways)).over;
  }

  /**
   * Runs `work` with an access that takes away, renewed for as long as it lasts.
   *
   * @param everyMs a quarter of what was given when left out
   * @throws what `access` and `work` throw
   */
  async maintaining<T>(
    archive: ArchiveRow,
    signal: AbortSignal,
    work: (access: CopyAccess) => Promise<T>,
    everyMs?: number,
  ): Promise<T> {
    const access = await this.access(archive, 'maintain', signal);
    const over = new AbortController();
    const renewing = this.renew(archive, access, everyMs ?? access.seconds * 250, over.signal);
    try {
      return await work(access);
    } finally {
      over.abort();
      await renewing;
      await this.done(archive, access);
    }
  }

  private async renew(
    { second, workloadId, archiveId }: ArchiveRow,
    { user }: CopyAccess,
    everyMs: number,
    over: AbortSignal,
  ): Promise<void> {
    if (second === null) return;
    const input = { workloadId, archiveId, user };
    const ways = { timeoutMs: CALL_MS, signal: over };
    for (;;) {
      await pause(everyMs, over);
      if (over.aborted) return;
      try {
        await this.peers.call({ peer: second, workloadId }, copyRenewCommand, input, ways);
      } catch (error) {
        // What works there is refused once it has run out.
        this.logger.log.info({ archiveId, reason: errorText(error) }, 'an access to a copy could not be renewed');
      }
    }
  }

  /** Runs `work` with the copy's repository. @throws what `access` and `work` throw */
  async with<T>(archive: ArchiveRow, signal: AbortSignal, work: (copy: RemoteVault) => Promise<T>): Promise<T> {
    const access = await this.access(archive, 'append', signal);
    const copy = new RemoteVault(access);
    try {
      return await work(copy);
    } finally {
      copy.close();
      await this.done(archive, access);
    }
  }
}
