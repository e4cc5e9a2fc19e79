import { Injectable } from '@nestjs/common';
import { type CopyAccess, copyAccessCommand } from '#contracts/archive';
import { PeerSites } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { RemoteVault } from './remote-vault.js';

const CALL_MS = 20_000;

/** The site that keeps an archive's second copy. */
@Injectable()
export class CopySite {
  constructor(private readonly peers: PeerSites) {}

  /** @throws PeerUnreachableError, PeerRefusedError; TypeError when the archive has no second site */
  access(archive: ArchiveRow, role: 'append' | 'maintain', signal: AbortSignal): Promise<CopyAccess> {
    const { second, workloadId, archiveId } = archive;
    if (second === null) throw new TypeError(`archive ${archiveId} has no second copy`);
    const input = { workloadId, archiveId, role };
    return this.peers.call({ peer: second, workloadId }, copyAccessCommand, input, { timeoutMs: CALL_MS, signal });
  }

  /** Runs `work` with the copy's repository. @throws what `access` and `work` throw */
  async with<T>(archive: ArchiveRow, signal: AbortSignal, work: (copy: RemoteVault) => Promise<T>): Promise<T> {
    const copy = new RemoteVault(await this.access(archive, 'append', signal));
    try {
      return await work(copy);
    } finally {
      copy.close();
    }
  }
}
