import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import type { StandbyPosition } from '#libs/sites/site';
import type { SourceReport } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { Arming } from './arming.js';
import { ServerCare } from './server-care.js';
import { SlotForOther } from './slot-for-other.js';

/** What a standby that streams needs from time to time. None of it may end the streaming: what fails is tried again. */
@Injectable()
export class StreamCare {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly arming: Arming,
    private readonly server: ServerCare,
    private readonly slots: SlotForOther,
    private readonly logger: AppLogger,
  ) {}

  async keep(
    standby: Standby,
    report: SourceReport | undefined,
    position: StandbyPosition,
    armMissing: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    let seen = standby;
    await this.trying('slot for the other site', seen, signal, () =>
      this.slots.keep(seen, report, position.replayedLsn),
    );
    if (seen.follow === 'peer') return;
    await this.trying('arming', seen, signal, async () => {
      if (seen.role !== 'metro') return;
      if (seen.armWanted) {
        if (!(await this.arming.arm(seen, signal))) return;
        seen = await this.work.run((tx) => this.standbys.change(tx, seen, { changes: { armWanted: false } }));
      } else if (armMissing) await this.arming.armAgain(seen, signal);
    });
    await this.trying('preflight', seen, signal, async () => {
      if (this.server.isDue(seen)) seen = await this.server.look(seen, signal);
    });
  }

  private async trying(
    what: string,
    { workloadId }: Standby,
    signal: AbortSignal,
    work: () => Promise<void>,
  ): Promise<void> {
    if (signal.aborted) return;
    try {
      await work();
    } catch (error) {
      if (signal.aborted) return;
      this.logger.log.warn({ workloadId, what, reason: errorText(error) }, 'care of a standby failed');
    }
  }
}
