import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { AgentCare } from '../retention/agent-care.js';
import { RepositoryBusyError } from '../vault/vault-repositories.service.js';
import { KeyUnavailableError } from './key-encryption.js';
import { RepositoryKeys } from './repository-keys.js';

/** New passwords: made here where the key is escrowed, by the agent where only the agency may know them. */
@Injectable()
export class Rotations {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly keys: RepositoryKeys,
    private readonly agent: AgentCare,
    private readonly clock: Clock,
  ) {}

  /** Makes an escrowed repository and its keys, as far as they are not there. A customer-held one is its agent's to make. */
  async ensure({ archiveId, keyMode }: ArchiveRow, signal: AbortSignal): Promise<void> {
    if (keyMode === 'escrowed') await this.keys.ensure(archiveId, signal);
  }

  /**
   * As soon as the repository is free; cut off anywhere, it goes on where it was.
   *
   * @throws ResticFailedError, KeyUnavailableError, AgentCareError, AgentUnreachableError, AgentRefusedError; RepositoryBusyError:
   * later
   */
  async rotate(archive: ArchiveRow, rotationId: string, signal: AbortSignal): Promise<void> {
    const { archiveId, state, keyMode } = archive;
    if (state !== 'active' && state !== 'paused' && state !== 'ending') return;
    const rotate = async (held: AbortSignal) => {
      if (keyMode === 'escrowed') await this.keys.rotate(archiveId, rotationId, held);
      else await this.rotateAtAgent(archive, rotationId, held);
      await this.work.run(async (tx) => {
        await tx.execute(
          `UPDATE archive SET keys_rotated_at = $3, rotation_id = NULL, failure = NULL, retry_at = NULL, version = version + 1
            WHERE archive_id = $1 AND rotation_id = $2`,
          [archiveId, rotationId, this.clock.now()],
        );
        await this.archives.tell(tx, archiveId);
      });
    };
    await this.archives.hold(archiveId, 'keys', rotate, signal);
  }

  /**
   * The agent has the new password on its disk before the old keys go. That its key opens the repository is its word: it
   * counts only while a person wants a rotation, and for a key that the vault has. And until the password lies in the
   * agency's safe, that disk is the only place where it is. So the old keys are laid aside.
   */
  private async rotateAtAgent(archive: ArchiveRow, rotationId: string, signal: AbortSignal): Promise<void> {
    const { archiveId } = archive;
    const result = await this.agent.run(archive, { kind: 'rotate', rotationId }, signal);
    if (result === 'busy') throw new RepositoryBusyError();
    const { key } = result;
    // An older restic tells the first digits alone.
    const named = (await this.keys.inVault(archiveId)).filter((id) => key !== undefined && id.startsWith(key));
    const [stays, ...others] = named;
    if (stays === undefined || others.length > 0) {
      throw new KeyUnavailableError(`the agent names ${key ?? 'no key'} as the new one of ${archiveId}`);
    }
    await this.keys.removeOthers(archiveId, (id) => id === stays, this.clock.now());
  }
}
