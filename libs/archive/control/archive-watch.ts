import { type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { Handles, type JobHandler } from '#libs/platform/queue';
import { watchArchivesJob } from './archive.jobs.js';
import { ArchiveRecord, type Recorded } from './archives/archive-record.js';
import { COPY_BEHIND, LATE, LINK_DOWN } from './archives/measured.js';

/** People are told again so often, for as long as it lasts. */
const AGAIN = "interval '1 day'";

interface Found extends Recorded {
  readonly siteName: string;
  readonly since: Date | null;
}

const FOUND = `a.id, a.tenant_id AS "tenantId", a.workload_id AS "workloadId", w.name AS "workloadName",
  coalesce((SELECT name FROM site WHERE id = a.site_id), '') AS "siteName"`;
const OF_WORKLOAD = 'w.tenant_id = a.tenant_id AND w.id = a.workload_id';

/** Finds what nobody tells of because nothing happens, and tells people, once a day for as long as it lasts. */
@Handles(watchArchivesJob)
export class ArchiveWatch implements JobHandler<Record<string, never>> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly record: ArchiveRecord,
  ) {}

  async handle(): Promise<void> {
    await this.work.provider((tx) => this.late(tx));
    await this.work.provider((tx) => this.silent(tx));
    await this.work.provider((tx) => this.copies(tx));
  }

  private async late(tx: ProviderTransaction): Promise<void> {
    const found = await this.take(tx, 'late_told_at', LATE, 'greatest(a.completed_at, a.expected_since)');
    for (const archive of found) {
      const { workloadName: name, since } = archive;
      await this.record.tell(tx, archive, {
        kind: 'archives.late',
        severity: 'alarm',
        title: `${name}: no recovery point for too long`,
        text: `No run of the archive of ${name} has left a recovery point since ${since?.toISOString() ?? 'it was made'}, which is more than twice the time between two runs. See its runs (GET /v1/archives/${archive.id}/runs) and its agent.`,
      });
    }
  }

  private async silent(tx: ProviderTransaction): Promise<void> {
    await tx.execute(
      `UPDATE archive a SET silent_told_at = NULL FROM agent_site link
        WHERE a.silent_told_at IS NOT NULL AND link.tenant_id = a.tenant_id AND link.agent_id = a.agent_id
          AND link.site_id = a.site_id AND link.connected_since IS NOT NULL`,
    );
    const found = await tx.query<Found>(
      `UPDATE archive a SET silent_told_at = now() FROM workload w, agent_site link
        WHERE ${OF_WORKLOAD} AND ${LINK_DOWN}
          AND (a.silent_told_at IS NULL OR a.silent_told_at < now() - ${AGAIN})
        RETURNING ${FOUND}, link.seen_at AS since`,
    );
    for (const archive of found) {
      const { workloadName: name, since, siteName } = archive;
      await this.record.tell(tx, archive, {
        kind: 'archives.silent',
        severity: 'warning',
        title: `${name}: its agent is silent`,
        text: `${siteName} has not heard the agent that archives ${name} since ${since?.toISOString() ?? 'it was enrolled'}. Nothing is archived until it is back: look at its machine and its line.`,
      });
    }
  }

  private async copies(tx: ProviderTransaction): Promise<void> {
    await tx.execute(
      `UPDATE archive a SET copy_told_at = NULL WHERE a.copy_told_at IS NOT NULL AND NOT (${COPY_BEHIND})`,
    );
    const until = `(a.copy->>'completeUntil')::timestamptz`;
    const found = await this.take(tx, 'copy_told_at', `a.ended_at IS NULL AND ${COPY_BEHIND}`, until);
    for (const archive of found) {
      const { workloadName: name, since } = archive;
      await this.record.tell(tx, archive, {
        kind: 'archives.copy-behind',
        severity: 'warning',
        title: `${name}: the second copy of its archive is behind`,
        text: `At the second site the archive of ${name} is complete ${since === null ? 'up to no point yet' : `up to ${since.toISOString()} only`}. If the first site is lost now, what came after that is lost with it. The archive's copy says what is missing (GET /v1/archives/${archive.id}).`,
      });
    }
  }

  /** Marks those that people have not been told of within a day, so that two workers do not tell of one twice. */
  private take(tx: ProviderTransaction, mark: string, condition: string, since: string): Promise<Found[]> {
    return tx.query<Found>(
      `UPDATE archive a SET ${mark} = now() FROM workload w
        WHERE ${OF_WORKLOAD} AND (a.${mark} IS NULL OR a.${mark} < now() - ${AGAIN}) AND ${condition}
        RETURNING ${FOUND}, ${since} AS since`,
    );
  }
}
