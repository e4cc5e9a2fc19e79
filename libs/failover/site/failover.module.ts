import { Module } from '@nestjs/common';
import { cancelFailoverOrder, confirmFailoverOrder, failoverOrder, standAsideOrder } from '#contracts/failover';
import { StandbysModule } from '#libs/replication/site';
import { OUTLOOK_SOURCE } from '#libs/sites/site';
import { StepBoundaries } from './boundaries.js';
import { failoverCollector } from './failover.metrics.js';
import { FailoverOrderHandler } from './orders/failover.order.js';
import { StandAsideHandler, StandAsideReach } from './orders/stand-aside.order.js';
import { CancelFailoverHandler, ConfirmFailoverHandler } from './orders/steer.orders.js';
import { OtherSite } from './other-site.js';
import { PromotionOutlooks } from './outlook.service.js';
import { FollowPeerHandler } from './peers/follow.handler.js';
import { PeerReseeding } from './peers/peer-reseeding.js';
import { ResumeReceivingHandler, StopReceivingHandler } from './peers/stop-receiving.handler.js';
import { CancellingReach, RunCancelling } from './runs/run-cancelling.js';
import { RunYielding } from './runs/run-yielding.js';
import { RunEngine } from './runs/run-engine.js';
import {
  AdvanceRunHandler,
  RepointOtherSiteHandler,
  ResumeRunHandler,
  SweepRepointsHandler,
  SweepRunsHandler,
} from './runs/run.jobs.js';
import { Runs } from './runs/runs.service.js';
import { StepRunner } from './runs/step-runner.js';
import { CompareStep } from './steps/compare.step.js';
import { FenceAgencyStep } from './steps/fence-agency.step.js';
import { FetchMissingStep } from './steps/fetch-missing.step.js';
import { NotifyStep, RepointOtherSiteStep } from './steps/finish.steps.js';
import { PromoteStep } from './steps/promote.step.js';
import { RefuseLeasesStep } from './steps/refuse-leases.step.js';
import { CheckWritableStep, SwitchFrontDoorStep } from './steps/serve.steps.js';
import { RunSteps, ServingSteps, StoppingSteps } from './steps/steps.js';
import { PeerPatience, StopReceiversStep } from './steps/stop-receivers.step.js';

/** The orders that this library carries out. */
export const FAILOVER_ORDERS = [failoverOrder, cancelFailoverOrder, confirmFailoverOrder, standAsideOrder] as const;

/** Failover runs, in the site process. */
@Module({
  imports: [StandbysModule],
  providers: [
    Runs,
    StepBoundaries,
    RunEngine,
    StepRunner,
    RunCancelling,
    RunYielding,
    CancellingReach,
    OtherSite,
    RunSteps,
    StoppingSteps,
    ServingSteps,
    RefuseLeasesStep,
    FenceAgencyStep,
    StopReceiversStep,
    PeerPatience,
    CompareStep,
    FetchMissingStep,
    PromoteStep,
    CheckWritableStep,
    SwitchFrontDoorStep,
    RepointOtherSiteStep,
    NotifyStep,
    FailoverOrderHandler,
    CancelFailoverHandler,
    ConfirmFailoverHandler,
    StandAsideHandler,
    StandAsideReach,
    AdvanceRunHandler,
    ResumeRunHandler,
    SweepRunsHandler,
    RepointOtherSiteHandler,
    SweepRepointsHandler,
    StopReceivingHandler,
    ResumeReceivingHandler,
    FollowPeerHandler,
    PeerReseeding,
    PromotionOutlooks,
    failoverCollector,
    { provide: OUTLOOK_SOURCE, useExisting: PromotionOutlooks },
  ],
  exports: [PromotionOutlooks, OUTLOOK_SOURCE, RunEngine],
})
export class FailoverModule {}
