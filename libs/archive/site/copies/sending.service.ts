import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';
import { Damages } from '../checks/damages.service.js';
import { VaultService } from '../vault/vault.module.js';
import { CopyRows } from './copy-rows.service.js';
import { CopySite } from './copy-site.js';
import { Pace } from '../vault/pace.js';
import { type Missing, missingFrom, sendAll } from './replication.js';

/** While it is sending, it says how far it is so often. */
const TELL_MS = 15_000;

/** Objects here are damaged, and the copy does not have them either. */
export class DamagedHereError extends DomainError {
  constructor(count: number) {
    super('internal', 'archive.damaged', `${count} objects are damaged here, and the copy does not have them.`);
  }
}

/** Sends the second copy what it lacks. */
@Injectable()
export class Sending {
  constructor(
    private readonly rows: CopyRows,
    private readonly vault: VaultService,
    private readonly site: CopySite,
    private readonly damages: Damages,
    private readonly logger: AppLogger,
    private readonly clock: Clock,
  ) {}

  /** @throws DamagedHereError, RemoteVaultError, PeerUnreachableError, PeerRefusedError */
  bring(archive: ArchiveRow, signal: AbortSignal): Promise<void> {
    const { archiveId } = archive;
    return this.site.with(archive, signal, async (copy) => {
      const { objects } = this.vault;
      const began = await this.rows.now();
      await copy.create(signal);
      const missing = await missingFrom(copy, objects, archiveId, signal);
      const left = { objects: missing.length, bytes: sum(missing) };
      await this.rows.tell(archiveId, left, null, true);
      let told = this.clock.monotonic();
      let telling = Promise.resolve();
      const sent = (bytes: number): void => {
        left.objects -= 1;
        left.bytes -= bytes;
        if (this.clock.monotonic() - told < TELL_MS) return;
        told = this.clock.monotonic();
        telling = telling
          .then(() => this.rows.tell(archiveId, left, null, false))
          .catch((error: unknown) =>
            this.logger.log.warn({ archiveId, reason: errorText(error) }, 'how a copy stands could not be written'),
          );
      };
      let damaged = 0;
      const hooks = {
        sent,
        damaged: async (name: Missing['name']) => {
          if ((await this.damages.found(archiveId, name)) === 'damaged') damaged += 1;
        },
      };
      const pace = new Pace(archive.policy.bandwidthBytesPerSecond);
      try {
        await sendAll(copy, objects, archiveId, missing, { pace, signal, hooks });
      } finally {
        // Written later, it would take the place of how this ends.
        await telling;
      }
      if (damaged > 0) throw new DamagedHereError(damaged);
      await this.rows.tell(archiveId, { objects: 0, bytes: 0 }, began, true);
    });
  }
}

const sum = (missing: readonly Missing[]): number => missing.reduce((all, { bytes }) => all + bytes, 0);
