import { Injectable } from '@nestjs/common';
import type { RunStep } from '#contracts/failover';
import { CompareStep } from './compare.step.js';
import { FenceAgencyStep } from './fence-agency.step.js';
import { FetchMissingStep } from './fetch-missing.step.js';
import { NotifyStep, RepointOtherSiteStep } from './finish.steps.js';
import { PromoteStep } from './promote.step.js';
import { RefuseLeasesStep } from './refuse-leases.step.js';
import { CheckWritableStep, SwitchFrontDoorStep } from './serve.steps.js';
import type { RunStepHandler } from './step.js';
import { StopReceiversStep } from './stop-receivers.step.js';

/** Up to the comparison: production is told to stop, and what there is becomes known. */
@Injectable()
export class StoppingSteps {
  constructor(
    readonly refuse: RefuseLeasesStep,
    readonly fence: FenceAgencyStep,
    readonly stop: StopReceiversStep,
    readonly compare: CompareStep,
    readonly fetch: FetchMissingStep,
  ) {}
}

/** From the promotion on: this site serves. */
@Injectable()
export class ServingSteps {
  constructor(
    readonly promote: PromoteStep,
    readonly writable: CheckWritableStep,
    readonly door: SwitchFrontDoorStep,
    readonly repoint: RepointOtherSiteStep,
    readonly notify: NotifyStep,
  ) {}
}

/** Each step's handler: total, so that a step of the contract without one does not compile. */
@Injectable()
export class RunSteps {
  private readonly handlers: Readonly<Record<RunStep, RunStepHandler>>;

  constructor(stopping: StoppingSteps, serving: ServingSteps) {
    this.handlers = {
      'refuse-leases': stopping.refuse,
      'fence-agency': stopping.fence,
      'stop-receivers': stopping.stop,
      compare: stopping.compare,
      'fetch-missing': stopping.fetch,
      promote: serving.promote,
      'check-writable': serving.writable,
      'switch-front-door': serving.door,
      'repoint-other-site': serving.repoint,
      notify: serving.notify,
    };
  }

  of(step: RunStep): RunStepHandler {
    return this.handlers[step];
  }
}
