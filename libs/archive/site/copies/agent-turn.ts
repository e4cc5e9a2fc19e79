import { Injectable } from '@nestjs/common';
import { pause } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { ArchiveRow } from '../archive.row.js';

const LOOK_MS = 2_000;

export const AGENT_NEEDED = 'archive.agent-needed';

/** The agent has a restore or a run to do. */
export class AgentNeededError extends DomainError {
  constructor() {
    super('unavailable', AGENT_NEEDED, 'The agent is needed for a restore or a run. It is done later.');
  }
}

/**
 * Care that may last for hours, of a second copy or of checks, makes way for restores and runs. An agent does one work at a
 * time on a repository, also where its copy is elsewhere, and nobody here holds the repository for the sake of such care: what
 * comes meanwhile would be refused as busy.
 */
@Injectable()
export class AgentTurn {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Runs `work`, which the agent does where it alone has the key. Its signal is aborted when the agent is needed.
   *
   * @throws AgentNeededError before or in the midst of it; what `work` throws
   */
  async beside<T>(
    { archiveId, keyMode }: Pick<ArchiveRow, 'archiveId' | 'keyMode'>,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if (keyMode !== 'customer-held') return work(signal);
    if (await this.needed(archiveId)) throw new AgentNeededError();
    const over = new AbortController();
    const way = new AbortController();
    const watching = this.watch(archiveId, over.signal, way);
    try {
      return await work(AbortSignal.any([signal, way.signal]));
    } catch (error) {
      // Whoever was broken off may say it in words of its own.
      way.signal.throwIfAborted();
      throw error;
    } finally {
      over.abort();
      await watching;
    }
  }

  private async watch(archiveId: string, over: AbortSignal, way: AbortController): Promise<void> {
    for (;;) {
      await pause(LOOK_MS, over);
      if (over.aborted) return;
      try {
        if (await this.needed(archiveId)) return way.abort(new AgentNeededError());
      } catch (error) {
        this.logger.log.warn({ archiveId, reason: errorText(error) }, 'nobody knows whether an agent is needed');
      }
    }
  }

  private async needed(archiveId: string): Promise<boolean> {
    const open = await this.work.run((tx) =>
      tx.query(
        `SELECT FROM archive_restore WHERE archive_id = $1 AND ended_at IS NULL
         UNION ALL SELECT FROM archive_run WHERE archive_id = $1 AND ended_at IS NULL LIMIT 1`,
        [archiveId],
      ),
    );
    return open.length > 0;
  }
}
