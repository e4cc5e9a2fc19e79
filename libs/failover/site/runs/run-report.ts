import type { z } from 'zod';
import type { runReport } from '#contracts/failover';
import { lsnDifference } from '#libs/platform/postgres';
import type { FailoverRun } from './run.row.js';

export type RunReport = z.infer<typeof runReport>;

/** What a run came to, as far as it has come. */
export function reportOf(run: FailoverRun): RunReport {
  const { firstWriteAt, receivedAt, ownLsn, otherLsn } = run;
  return {
    runId: run.id,
    workloadId: run.workloadId,
    epoch: run.epoch,
    promotedAtLsn: run.promotedAtLsn,
    promotedTimeline: run.promotedTimeline,
    loss: run.loss ?? { kind: 'unknown', bytes: null, why: 'the run ended before this was known' },
    secondsToFirstWrite: firstWriteAt ? (firstWriteAt.getTime() - receivedAt.getTime()) / 1_000 : null,
    otherSiteLagBytes:
      ownLsn !== null && otherLsn !== null ? Math.max(0, Number(lsnDifference(ownLsn, otherLsn))) : null,
    frontDoor: run.frontDoor,
  };
}
