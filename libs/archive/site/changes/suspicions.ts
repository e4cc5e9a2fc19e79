import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type ChangeSignal, massChangeResult, type MassChangeReport } from '#contracts/archive';
import type { SiteTransaction } from '#libs/platform/database';
import { SiteOutbox } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { Points } from '../points/points.service.js';
import { KnownCanaries } from './known-canaries.js';
import { OF_RESTORES } from './restored.js';

/** After it was dealt with, the last good point is kept for so long. */
const PINNED_DAYS = 90;
/** As the control plane takes them. */
const PATHS_TOLD = 100;
/** Why nothing is removed from the repository meanwhile. People read it. */
const HELD_FOR_CHANGE = 'an unusual change is suspected; say what it was, and retention goes on';

/** What was suspected of a run: null where strangers did it. */
export interface Suspect {
  readonly runId: string;
  readonly startedAt: Date;
  /** Some of what it removed. */
  readonly removed: readonly string[];
}
export interface ChangeRow {
  readonly changeId: string;
  readonly runId: string | null;
  readonly state: MassChangeReport['state'];
  readonly at: Date;
  readonly signals: ChangeSignal[];
  readonly paths: string[];
  readonly lastGood: string | null;
}
const CHANGE_COLUMNS = `change_id AS "changeId", run_id AS "runId", state, at, signals, paths, last_good AS "lastGood"`;

interface GoodPoint {
  readonly snapshotId: string;
  readonly receivedAt: Date;
}

const ofRestores = (signals: readonly ChangeSignal[]): readonly ChangeSignal[] =>
  signals.filter(({ signal }) => (OF_RESTORES as readonly string[]).includes(signal));
const pathsOf = (signals: readonly ChangeSignal[], others: readonly string[]): readonly string[] =>
  [...new Set([...signals.flatMap(({ paths }) => paths ?? []), ...others])].slice(0, PATHS_TOLD);

/** Suspected mass changes, from the first word of them to people's last: until then nothing is removed. */
@Injectable()
export class Suspicions {
  constructor(
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly canaries: KnownCanaries,
    private readonly outbox: SiteOutbox,
  ) {}

  /** The one that nobody has judged yet: an archive has one at a time. */
  async open(tx: SiteTransaction, archiveId: string): Promise<ChangeRow | undefined> {
    const [row] = await tx.query<ChangeRow>(
      `SELECT ${CHANGE_COLUMNS} FROM archive_change WHERE archive_id = $1 AND state = 'suspected' LIMIT 1`,
      [archiveId],
    );
    return row;
  }

  async find(tx: SiteTransaction, archiveId: string, changeId: string): Promise<ChangeRow | undefined> {
    const [row] = await tx.query<ChangeRow>(
      `SELECT ${CHANGE_COLUMNS} FROM archive_change WHERE archive_id = $1 AND change_id = $2`,
      [archiveId, changeId],
    );
    return row;
  }

  /** Pauses retention and pins the last good point. @returns its id */
  async raise(
    tx: SiteTransaction,
    archive: ArchiveRow,
    signals: readonly ChangeSignal[],
    run: Suspect | undefined,
  ): Promise<string> {
    const { archiveId } = archive;
    const good = await this.lastGood(tx, archiveId, signals, run);
    const changeId = randomUUID();
    const [change] = await tx.query<ChangeRow>(
      `INSERT INTO archive_change (change_id, archive_id, run_id, state, signals, paths, last_good)
       VALUES ($1, $2, $3, 'suspected', $4, $5, $6) RETURNING ${CHANGE_COLUMNS}`,
      [
        changeId,
        archiveId,
        run?.runId ?? null,
        JSON.stringify(signals),
        JSON.stringify(pathsOf(signals, run?.removed ?? [])),
        good?.snapshotId ?? null,
      ],
    );
    await tx.execute(
      `UPDATE vault_repository SET held_because = $2 WHERE repository_id = $1 AND held_because IS NULL`,
      [archiveId, HELD_FOR_CHANGE],
    );
    if (good) await this.pin(tx, archiveId, good.snapshotId);
    if (change) await this.tell(tx, archive, change);
    await this.archives.tell(tx, archiveId);
    return changeId;
  }

  /**
   * What test restores saw since it was suspected is said with it; and a point before what they saw is the last good one.
   *
   * @returns whether they saw anything unusual
   */
  async add(
    tx: SiteTransaction,
    archive: ArchiveRow,
    change: ChangeRow,
    signals: readonly ChangeSignal[],
    run: Suspect,
  ): Promise<boolean> {
    const seen = ofRestores(signals);
    const more = seen.filter(
      (one) => !change.signals.some(({ signal, value }) => signal === one.signal && value >= one.value),
    );
    if (more.length === 0) return seen.length > 0;
    const others = change.signals.filter(({ signal }) => !more.some((one) => one.signal === signal));
    const { archiveId } = archive;
    const good = await this.lastGood(tx, archiveId, more, run);
    const now = await this.pointOf(tx, archiveId, change.lastGood);
    const lastGood = good && (!now || good.receivedAt < now.receivedAt) ? good.snapshotId : change.lastGood;
    const [told] = await tx.query<ChangeRow>(
      `UPDATE archive_change SET signals = $2, paths = $3, last_good = $4 WHERE change_id = $1 RETURNING ${CHANGE_COLUMNS}`,
      [change.changeId, JSON.stringify([...others, ...more]), JSON.stringify(pathsOf(more, change.paths)), lastGood],
    );
    if (lastGood !== null) await this.pin(tx, archiveId, lastGood);
    if (told) await this.tell(tx, archive, told);
    return true;
  }

  /** A judgement is final. @returns false when there is none such to judge */
  async judge(
    tx: SiteTransaction,
    archive: ArchiveRow,
    changeId: string,
    verdict: 'false-positive' | 'dealt-with',
  ): Promise<boolean> {
    const { archiveId } = archive;
    const [change] = await tx.query<ChangeRow>(
      `UPDATE archive_change SET state = $3, judged_at = clock_timestamp()
        WHERE archive_id = $1 AND change_id = $2 AND state IN ('suspected', $3) RETURNING ${CHANGE_COLUMNS}`,
      [archiveId, changeId, verdict],
    );
    if (!change) return false;
    if (verdict === 'false-positive') await this.canaries.learn(tx, archiveId, changeId);
    await this.tell(tx, archive, change);
    if (await this.open(tx, archiveId)) return true;
    await tx.execute(`UPDATE vault_repository SET held_because = NULL WHERE repository_id = $1 AND held_because = $2`, [
      archiveId,
      HELD_FOR_CHANGE,
    ]);
    await this.unpin(tx, archiveId);
    await this.archives.tell(tx, archiveId);
    return true;
  }

  /** Points that no suspicion needs any more. */
  async unpin(tx: SiteTransaction, archiveId: string): Promise<void> {
    const free = await tx.query<{ id: string }>(
      `UPDATE archive_point p SET pinned = false WHERE archive_id = $1 AND pinned
          AND NOT EXISTS (SELECT FROM archive_change c LEFT JOIN archive_point g
                              ON g.archive_id = c.archive_id AND g.snapshot_id = c.last_good
                           WHERE c.archive_id = $1 AND (g.snapshot_id = p.snapshot_id OR g.run_id = p.run_id)
                             AND (c.state = 'suspected' OR (c.state = 'dealt-with'
                               AND c.judged_at > clock_timestamp() - make_interval(days => $2))))
        RETURNING snapshot_id AS id`,
      [archiveId, PINNED_DAYS],
    );
    for (const { id } of free) await this.points.tell(tx, archiveId, id);
  }

  /**
   * The newest point before it of a run that was not odd itself. Where a test restore saw what is suspected, one that was
   * proven: of the others nobody knows since when it is so.
   */
  private async lastGood(
    tx: SiteTransaction,
    archiveId: string,
    signals: readonly ChangeSignal[],
    run: Suspect | undefined,
  ): Promise<GoodPoint | undefined> {
    const [good] = await tx.query<GoodPoint>(
      `SELECT p.snapshot_id AS "snapshotId", p.received_at AS "receivedAt"
         FROM archive_point p LEFT JOIN archive_run r ON r.run_id = p.run_id
         LEFT JOIN archive_change c ON c.change_id = (r.measures->>'changeId')::uuid
        WHERE p.archive_id = $1 AND p.forgotten_at IS NULL AND p.run_id IS NOT NULL AND p.run_id IS DISTINCT FROM $2
          AND p.received_at < coalesce($3, clock_timestamp())
        ORDER BY coalesce(c.state <> 'false-positive', jsonb_exists_any(r.measures->'odd', $4), false),
                 $5 AND p.proof_state <> 'proven', p.received_at DESC
        LIMIT 1`,
      [archiveId, run?.runId ?? null, run?.startedAt ?? null, [...OF_RESTORES], ofRestores(signals).length > 0],
    );
    return good;
  }

  private async pointOf(tx: SiteTransaction, archiveId: string, snapshotId: string | null) {
    return snapshotId === null ? undefined : this.points.find(tx, archiveId, snapshotId);
  }

  /** With the other parts of its run. */
  private async pin(tx: SiteTransaction, archiveId: string, snapshotId: string): Promise<void> {
    const pinned = await tx.query<{ id: string }>(
      `UPDATE archive_point p SET pinned = true FROM archive_point g
        WHERE g.archive_id = $1 AND g.snapshot_id = $2 AND p.archive_id = $1 AND p.forgotten_at IS NULL AND NOT p.pinned
          AND (p.snapshot_id = $2 OR p.run_id = g.run_id)
        RETURNING p.snapshot_id AS id`,
      [archiveId, snapshotId],
    );
    for (const { id } of pinned) await this.points.tell(tx, archiveId, id);
  }

  private async tell(tx: SiteTransaction, archive: ArchiveRow, change: ChangeRow): Promise<void> {
    const { archiveId, workloadId, tenantId } = archive;
    const { changeId, runId, state, at, signals, paths, lastGood } = change;
    await this.outbox.emit(
      tx,
      massChangeResult,
      { tenantId },
      { archiveId, workloadId, changeId, runId, state, at: at.toISOString(), signals, paths, lastGood },
    );
  }
}
