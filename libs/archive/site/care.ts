import type { Provider } from '@nestjs/common';
import { dropPointOrder, holdPointOrder } from '#contracts/archive';
import type { OrderContract } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';
import { SweepTendingHandler, TendRetentionHandler } from './care.handlers.js';
import { sweepTendingJob, tendRetentionJob } from './care.jobs.js';
import { DropPointHandler, HoldPointHandler } from './orders/point.orders.js';
import { AgentCare } from './retention/agent-care.js';
import { Drops } from './retention/drops.service.js';
import { Maintenance } from './retention/maintenance.js';
import { Readers } from './retention/readers.js';
import { Pruning } from './retention/pruning.service.js';
import { RetentionService } from './retention/retention.service.js';

// What looks after the recovery points once they are there: proof, retention, checks, mass changes, second copies.

export const CARE_PROVIDERS: readonly Provider[] = [
  AgentCare,
  Drops,
  Maintenance,
  Pruning,
  Readers,
  RetentionService,
  HoldPointHandler,
  DropPointHandler,
  TendRetentionHandler,
  SweepTendingHandler,
];
export const CARE_ORDERS = [holdPointOrder, dropPointOrder] as unknown as readonly OrderContract<never>[];
export const CARE_JOBS = [tendRetentionJob, sweepTendingJob] as unknown as readonly JobContract<never>[];
/** Woken once a run has ended, whatever its end; losing a wake-up loses nothing that a sweep does not find. */
export const AFTER_RUN: readonly JobContract<{ archiveId: string; runId: string }>[] = [];
