import type { Provider } from '@nestjs/common';
import { bringBackOrder, dropPointOrder, holdPointOrder, judgeChangeOrder } from '#contracts/archive';
import type { OrderContract } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';
import {
  CheckArchiveHandler,
  CheckKeptCopyHandler,
  CopyArchiveHandler,
  Dues,
  FindJunkHandler,
  LookAtChangesHandler,
  ProveHandler,
  SweepRemovedHandler,
  SweepTendingHandler,
  TendRetentionHandler,
} from './care.handlers.js';
import {
  checkArchiveJob,
  checkKeptCopyJob,
  copyArchiveJob,
  findJunkJob,
  lookAtChangesJob,
  proveJob,
  sweepRemovedJob,
  sweepTendingJob,
  tendRetentionJob,
} from './care.jobs.js';
import { Changes } from './changes/changes.service.js';
import { KnownCanaries } from './changes/known-canaries.js';
import { Suspicions } from './changes/suspicions.js';
import { Checks } from './checks/checks.service.js';
import { Damages } from './checks/damages.service.js';
import { JunkObjects } from './checks/junk-objects.js';
import { KeptCopies } from './checks/kept-copies.service.js';
import { ResticChecks } from './checks/restic-checks.js';
import { AgentTurn } from './copies/agent-turn.js';
import { Copies } from './copies/copies.service.js';
import { CopyAccesses, CopyAccessHandler, CopyDoneHandler, CopyRenewHandler } from './copies/copy-access.handler.js';
import { CopyForgetting } from './copies/copy-forgetting.service.js';
import { CopyPruning } from './copies/copy-pruning.service.js';
import { CopyRows } from './copies/copy-rows.service.js';
import { CopySite } from './copies/copy-site.js';
import { CopyEndHandler, KeptEnding } from './copies/kept-ending.js';
import { Sending } from './copies/sending.service.js';
import { BringBackHandler } from './orders/bring-back.order.js';
import { JudgeChangeHandler } from './orders/judge-change.order.js';
import { DropPointHandler, HoldPointHandler } from './orders/point.orders.js';
import { DumpProof } from './proof/dump-proof.js';
import { FileProof } from './proof/file-proof.js';
import { ProofQueue } from './proof/proof-queue.js';
import { ProofScratch } from './proof/proof-scratch.js';
import { ProofService } from './proof/proof.service.js';
import { ProofWorks } from './proof/proof-works.js';
import { Sightings } from './proof/sightings.js';
import { AgentCare } from './retention/agent-care.js';
import { BringingBack } from './retention/bringing-back.js';
import { Drops } from './retention/drops.service.js';
import { Forgetting } from './retention/forgetting.service.js';
import { Maintenance } from './retention/maintenance.js';
import { MissingPoints } from './retention/missing-points.js';
import { Readers } from './retention/readers.js';
import { Pruning } from './retention/pruning.service.js';
import { RetentionService } from './retention/retention.service.js';

// What looks after the recovery points once they are there: proof, retention, checks, mass changes, second copies.

export const CARE_PROVIDERS: readonly Provider[] = [
  AgentCare,
  AgentTurn,
  BringBackHandler,
  BringingBack,
  Changes,
  CheckArchiveHandler,
  CheckKeptCopyHandler,
  Checks,
  ResticChecks,
  Copies,
  CopyAccesses,
  CopyAccessHandler,
  CopyDoneHandler,
  CopyEndHandler,
  CopyRenewHandler,
  CopyForgetting,
  CopyPruning,
  CopyArchiveHandler,
  CopyRows,
  CopySite,
  Sending,
  KnownCanaries,
  Suspicions,
  Damages,
  Dues,
  FindJunkHandler,
  JunkObjects,
  KeptCopies,
  KeptEnding,
  JudgeChangeHandler,
  LookAtChangesHandler,
  Drops,
  Forgetting,
  Maintenance,
  MissingPoints,
  Pruning,
  Readers,
  RetentionService,
  DumpProof,
  FileProof,
  ProofQueue,
  ProofScratch,
  ProofService,
  ProofWorks,
  Sightings,
  HoldPointHandler,
  DropPointHandler,
  TendRetentionHandler,
  ProveHandler,
  SweepRemovedHandler,
  SweepTendingHandler,
];
export const CARE_ORDERS = [
  holdPointOrder,
  dropPointOrder,
  judgeChangeOrder,
  bringBackOrder,
] as unknown as readonly OrderContract<never>[];
export const CARE_JOBS = [
  tendRetentionJob,
  proveJob,
  lookAtChangesJob,
  checkArchiveJob,
  findJunkJob,
  copyArchiveJob,
  checkKeptCopyJob,
  sweepTendingJob,
  sweepRemovedJob,
] as unknown as readonly JobContract<never>[];
/** Woken once a run has ended, whatever its end; losing a wake-up loses nothing that a sweep does not find. */
export const AFTER_RUN: readonly JobContract<{ archiveId: string; runId: string }>[] = [
  lookAtChangesJob,
  copyArchiveJob,
] as unknown as readonly JobContract<{ archiveId: string; runId: string }>[];
