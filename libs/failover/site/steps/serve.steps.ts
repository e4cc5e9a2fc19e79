import { Inject, Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { FrontDoors } from '#libs/replication/site';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import type { RunStepHandler, StepContext, StepOutcome } from './step.js';

/** One commit, flushed to disk: what a client's first write will be. */
@Injectable()
export class CheckWritableStep implements RunStepHandler {
  readonly step = 'check-writable';

  constructor(
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
  ) {}

  async run({ run }: StepContext): Promise<StepOutcome> {
    await this.driver.checkWritable(run.workloadId);
    const firstWriteAt = run.firstWriteAt ?? this.clock.now();
    const seconds = (firstWriteAt.getTime() - run.receivedAt.getTime()) / 1_000;
    return {
      kind: 'done',
      message: `This site takes writes, ${seconds.toFixed(2)} s after the order arrived.`,
      evidence: { seconds },
      findings: { firstWriteAt },
    };
  }
}

/** The workload's stable address leads here: clients that list both addresses go on by themselves. */
@Injectable()
export class SwitchFrontDoorStep implements RunStepHandler {
  readonly step = 'switch-front-door';

  constructor(private readonly doors: FrontDoors) {}

  async run({ run }: StepContext): Promise<StepOutcome> {
    const { host, port } = await this.doors.ensure(run.workloadId);
    await this.doors.lead(run.workloadId, 'standby');
    return {
      kind: 'done',
      message: `The front door ${host}:${port} leads to this site.`,
      evidence: { host, port },
      findings: { frontDoor: { host, port } },
    };
  }
}
