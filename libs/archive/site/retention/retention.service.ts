import { Injectable } from '@nestjs/common';
import type { Failure } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { failureOf } from '../archives.errors.js';
import { Archives } from '../archives.service.js';
import { Changes } from '../changes/changes.service.js';
import { Drops } from './drops.service.js';
import { Forgetting } from './forgetting.service.js';
import { MissingPoints } from './missing-points.js';
import { Pruning } from './pruning.service.js';

/** States in which recovery points come of age. */
const TENDED: ReadonlySet<string> = new Set(['active', 'paused', 'ending']);
/** What failed is left alone for so long: each attempt opens a key and takes the repository, and others wait for their turn. */
const AGAIN_MS = 600_000;

/**
 * Lets recovery points go that no rule keeps, and then what only they used. Whatever breaks off goes on the next time: each
 * step looks at what the vault has.
 */
@Injectable()
export class RetentionService {
  /** When it failed last, by the monotonic clock. */
  private readonly failed = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly drops: Drops,
    private readonly forgetting: Forgetting,
    private readonly pruning: Pruning,
    private readonly changes: Changes,
    private readonly missing: MissingPoints,
  ) {}

  /** Archives where it is time: once an hour, and at once where two people want a point gone. */
  async due(limit: number): Promise<readonly string[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ id: string }>(
        `SELECT archive_id AS id FROM archive a
          WHERE state = ANY($1)
            AND (retention_at IS NULL OR retention_at < clock_timestamp() - interval '1 hour'
              OR EXISTS (SELECT FROM archive_drop d WHERE d.archive_id = a.archive_id AND d.state = 'waiting'))
            AND (work_id IS NULL OR work_until < clock_timestamp())
            AND archive_id <> ALL($3::uuid[])
          ORDER BY retention_at NULLS FIRST LIMIT $2`,
        [[...TENDED], limit, this.resting()],
      ),
    );
    return rows.map(({ id }) => id);
  }

  /** Does nothing where the repository is another's at the moment. @throws what maintenance throws */
  async tend(archiveId: string, signal: AbortSignal): Promise<void> {
    try {
      await this.tendOnce(archiveId, signal);
      this.failed.delete(archiveId);
    } catch (error) {
      this.failed.set(archiveId, performance.now());
      if (!signal.aborted) await this.note(archiveId, failureOf(error));
      throw error;
    }
  }

  /** Counted until it works again: see the alarm `retention-failed`. */
  private async note(archiveId: string, failure: Failure): Promise<void> {
    await this.work.run((tx) =>
      tx.execute(
        `UPDATE archive SET retention_failures = retention_failures + 1, retention_failure = $2,
                retention_failing_since = coalesce(retention_failing_since, clock_timestamp())
          WHERE archive_id = $1`,
        [archiveId, JSON.stringify(failure)],
      ),
    );
  }

  private resting(): readonly string[] {
    for (const [id, at] of this.failed) if (performance.now() - at > AGAIN_MS) this.failed.delete(id);
    return [...this.failed.keys()];
  }

  private async tendOnce(archiveId: string, signal: AbortSignal): Promise<void> {
    const known = await this.work.run((tx) => this.archives.find(tx, archiveId));
    if (!known || !TENDED.has(known.state)) return;
    // What the last runs did may be a reason to let nothing go.
    await this.changes.look(archiveId);
    const free = await this.archives.hold(
      archiveId,
      'retention',
      async (held) => {
        // What was ordered until the repository was ours counts: a longer retention, or a pause.
        const archive = await this.work.run((tx) => this.archives.get(tx, archiveId));
        if (!TENDED.has(archive.state)) return false;
        await this.drops.carryOut(archive, held);
        const done = await this.forgetting.forget(archive, held);
        if (done) await this.missing.look(archive);
        return done;
      },
      signal,
    );
    if (free !== true) return;
    await this.pruning.prune(archiveId, signal);
    await this.work.run(async (tx) => {
      await tx.execute(
        `UPDATE archive SET retention_at = clock_timestamp(), retention_failing_since = NULL, retention_failures = 0,
                retention_failure = NULL WHERE archive_id = $1`,
        [archiveId],
      );
    });
  }
}
