import { pointResult, type PointReport, type Proof } from '#contracts/archive';
import type { ProviderTransaction } from '#libs/platform/database';
import { type AppliedResult, AppliesResult, type ResultHandler } from '#libs/sites/control';
import { randomUUID } from 'node:crypto';
import { ArchiveRecord } from '../archives/archive-record.js';
import type { ArchiveRow } from '../archives/archive-store.js';
import { ReportingArchives } from './reporting-archives.js';

interface Known {
  readonly id: string;
  readonly proof: Proof;
  readonly clockDiffers: boolean;
  readonly forgottenBecause: string | null;
}

/** A recovery point with its proof: each word is the whole of it. */
@AppliesResult(pointResult)
export class PointHandler implements ResultHandler<PointReport> {
  constructor(
    private readonly reporting: ReportingArchives,
    private readonly record: ArchiveRecord,
  ) {}

  async apply(tx: ProviderTransaction, result: AppliedResult<PointReport>): Promise<void> {
    const archive = await this.reporting.of(tx, result);
    const { payload } = result;
    const [known] = await tx.query<Known>(
      `SELECT id, proof, clock_differs AS "clockDiffers", forgotten_because AS "forgottenBecause" FROM recovery_point
        WHERE tenant_id = $1 AND archive_id = $2 AND snapshot_id = $3`,
      [archive.tenantId, archive.id, payload.snapshotId],
    );
    const id = known?.id ?? randomUUID();
    await this.keep(tx, archive, id, payload);
    await this.tell(tx, archive, id, known, payload);
  }

  private async keep(tx: ProviderTransaction, archive: ArchiveRow, id: string, point: PointReport): Promise<void> {
    await tx.execute(
      `INSERT INTO recovery_point (tenant_id, id, archive_id, snapshot_id, run_id, part, received_at, claimed_at,
                                   clock_differs, files, bytes, bytes_added_packed, change, proof, held_because, pinned,
                                   forgotten_at, forgotten_because)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
       ON CONFLICT (tenant_id, archive_id, snapshot_id) DO UPDATE SET run_id = EXCLUDED.run_id, part = EXCLUDED.part,
         received_at = EXCLUDED.received_at, claimed_at = EXCLUDED.claimed_at, clock_differs = EXCLUDED.clock_differs,
         files = EXCLUDED.files, bytes = EXCLUDED.bytes, bytes_added_packed = EXCLUDED.bytes_added_packed,
         change = EXCLUDED.change, proof = EXCLUDED.proof, held_because = EXCLUDED.held_because, pinned = EXCLUDED.pinned,
         forgotten_at = EXCLUDED.forgotten_at, forgotten_because = EXCLUDED.forgotten_because`,
      [
        archive.tenantId,
        id,
        archive.id,
        point.snapshotId,
        point.runId,
        point.part,
        point.receivedAt,
        point.claimedAt,
        point.clockDiffers,
        point.files,
        point.bytes,
        point.bytesAddedPacked,
        point.change && JSON.stringify(point.change),
        JSON.stringify(point.proof),
        point.heldBecause,
        point.pinned,
        point.forgottenAt,
        point.forgottenBecause,
      ],
    );
  }

  private async tell(
    tx: ProviderTransaction,
    archive: ArchiveRow,
    pointId: string,
    known: Known | undefined,
    { proof, receivedAt, claimedAt, clockDiffers, part, forgottenBecause }: PointReport,
  ): Promise<void> {
    const name = part === null ? archive.workloadName : `${archive.workloadName} (${part})`;
    const about = { pointId };
    if (proof.state === 'failed' && (known?.proof.state !== 'failed' || known.proof.at !== proof.at)) {
      const wrong = proof.checks.filter(({ passed }) => !passed).map((check) => `  ${check.name}: ${check.found}`);
      await this.record.tell(tx, archive, {
        kind: 'archives.proof-failed',
        severity: 'alarm',
        title: `${name}: a recovery point failed its proof`,
        text: [
          `The recovery point of ${name} from ${receivedAt} was restored as a test, and it did not come out right: ${proof.failure?.message ?? 'see the checks'}`,
          ...wrong,
          `Do not count on it. Look at the points before it (GET /v1/archives/${archive.id}/recovery-points), and have a run now.`,
        ].join('\n'),
        about,
      });
    }
    if (clockDiffers && !known?.clockDiffers) {
      await this.record.tell(tx, archive, {
        kind: 'archives.clock-differs',
        severity: 'warning',
        title: `${name}: the agency's clock is wrong, or somebody forges recovery points`,
        text: `A recovery point of ${name} arrived at ${receivedAt} and claims to be from ${claimedAt}. Retention goes by its arrival, so nothing is lost by it. Set the clock of the agent's machine right; if it is right, revoke the agent.`,
      });
    }
    if (forgottenBecause === 'missing' && known?.forgottenBecause !== 'missing') {
      await this.record.tell(tx, archive, {
        kind: 'archives.point-missing',
        severity: 'alarm',
        title: `${name}: a recovery point is missing from the archive`,
        text: `The recovery point of ${name} from ${receivedAt} is not in the archive any more, and nobody removed it by retention or by two people's word. Ask the provider, and look at who has the archive's key.`,
        about,
      });
    }
  }
}
