import { ARCHIVE_STATES, type ArchiveAlarm, type ArchiveState } from '#contracts/archive';
import { COUNTED_AT_MOST, type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineGauge, type Sample } from '#libs/platform/telemetry';

const BY_WORKLOAD = ['workload_id'];

export const archives = defineGauge('mainstay_archives', 'Archives of this site by state.', ['state']);
export const newestRun = defineGauge(
  'mainstay_archive_newest_run_seconds',
  'Since the newest run that left a recovery point ended; absent when there was none.',
  BY_WORKLOAD,
);
export const archiveAlarm = defineGauge('mainstay_archive_alarm', '1 for each alarm of an archive, by its code.', [
  'workload_id',
  'code',
]);
export const storedBytes = defineGauge(
  'mainstay_archive_stored_bytes',
  'What the repository took in the vault after its last run; absent before the first.',
  BY_WORKLOAD,
);
export const pointsUnproven = defineGauge(
  'mainstay_archive_points_unproven',
  `Recovery points that wait for their proof; with the failed ones counted up to ${COUNTED_AT_MOST} in all.`,
  BY_WORKLOAD,
);
export const pointsFailed = defineGauge(
  'mainstay_archive_points_failed',
  `Recovery points whose proof failed; with the unproven ones counted up to ${COUNTED_AT_MOST} in all.`,
  BY_WORKLOAD,
);
export const unprovenOldest = defineGauge(
  'mainstay_archive_points_unproven_oldest_seconds',
  'Since the vault received the oldest recovery point that waits for its proof; 0 when there is none.',
);
export const retentionPaused = defineGauge(
  'mainstay_archive_retention_paused',
  '1 while nothing of the archive is removed, whatever its rules say.',
  BY_WORKLOAD,
);
export const changeUnjudged = defineGauge(
  'mainstay_archive_change_unjudged_seconds',
  'Since the oldest suspected mass change that nobody has judged; absent when there is none.',
  BY_WORKLOAD,
);
export const objectsDamaged = defineGauge(
  'mainstay_archive_objects_damaged',
  'Objects that do not hash to their names and were not repaired.',
  BY_WORKLOAD,
);
export const checkedRatio = defineGauge(
  'mainstay_archive_checked_ratio',
  'Share of the repository that was read and found sound within 30 days; absent before the first check.',
  BY_WORKLOAD,
);
export const copyMissing = defineGauge(
  'mainstay_archive_copy_missing_bytes',
  'What the second copy lacked at the last look; absent without a second copy, and when that look failed.',
  BY_WORKLOAD,
);
export const copyBehind = defineGauge(
  'mainstay_archive_copy_seconds_behind',
  'Age of the oldest recovery point that the second copy is not known to have; absent without one, 0 when it has all.',
  BY_WORKLOAD,
);

interface Row {
  readonly workloadId: string;
  readonly alarms: readonly ArchiveAlarm[];
  readonly newestRun: number | null;
  readonly storedBytes: number | null;
  readonly held: number;
  readonly changeUnjudged: number | null;
  readonly damaged: number;
  readonly checkedRatio: number | null;
  readonly copyMissing: number | null;
  readonly copyBehind: number | null;
}
interface Proofs {
  readonly workloadId: string;
  readonly unproven: number;
  readonly failed: number;
  readonly oldest: number;
}

/** Since then, in seconds; a clock that was set back makes no negative ages. */
const since = (at: string): string => `greatest(0, extract(epoch FROM clock_timestamp() - ${at}))::float8`;

/** Each look-up goes by an index and finds a few rows, however long the archive has been there. */
const ROWS = `
  SELECT a.workload_id AS "workloadId", a.alarms, (v.held_because IS NOT NULL)::int AS held,
         (SELECT ${since('r.ended_at')} FROM archive_run r
           WHERE r.archive_id = a.archive_id AND r.state IN ('completed', 'partial')
           ORDER BY r.due_at DESC LIMIT 1) AS "newestRun",
         (SELECT s.bytes::float8 FROM archive_stored s WHERE s.archive_id = a.archive_id) AS "storedBytes",
         (SELECT ${since('min(c.at)')} FROM archive_change c
           WHERE c.archive_id = a.archive_id AND c.state = 'suspected' HAVING count(*) > 0) AS "changeUnjudged",
         (SELECT count(*)::int FROM archive_damage d
           WHERE d.archive_id = a.archive_id AND d.repaired_at IS NULL) AS damaged,
         (SELECT least(1, coalesce(sum(1.0 / k.of) FILTER (WHERE k.failure IS NULL
                   AND k.checked_at > clock_timestamp() - interval '30 days'), 0))::float8
            FROM archive_check k WHERE k.archive_id = a.archive_id HAVING count(*) > 0) AS "checkedRatio",
         CASE WHEN a.second IS NOT NULL AND copy.failure IS NULL AND copy.looked_at IS NOT NULL
              THEN copy.missing_bytes::float8 END AS "copyMissing",
         CASE WHEN a.second IS NOT NULL THEN coalesce((SELECT ${since('p.received_at')} FROM archive_point p
           WHERE p.archive_id = a.archive_id AND p.forgotten_at IS NULL
             AND p.received_at > coalesce(copy.complete_until, '-infinity')
           ORDER BY p.received_at LIMIT 1), 0) END AS "copyBehind"
    FROM archive a JOIN vault_repository v ON v.repository_id = a.archive_id
    LEFT JOIN archive_copy copy ON copy.archive_id = a.archive_id
   WHERE a.state <> 'ended' ORDER BY a.created_at DESC LIMIT ${COUNTED_AT_MOST}`;

/** The oldest first, so that the limit never hides them. */
const PROOFS = `
  SELECT workload_id AS "workloadId", count(*) FILTER (WHERE proof_state <> 'failed')::int AS unproven,
         count(*) FILTER (WHERE proof_state = 'failed')::int AS failed,
         coalesce(${since("min(received_at) FILTER (WHERE proof_state <> 'failed')")}, 0) AS oldest
    FROM (SELECT a.workload_id, p.proof_state, p.received_at
            FROM archive_point p JOIN archive a USING (archive_id)
           WHERE p.forgotten_at IS NULL AND p.proof_state IN ('never', 'running', 'failed') AND a.state <> 'ended'
           ORDER BY p.received_at LIMIT ${COUNTED_AT_MOST}) open
   GROUP BY workload_id`;

/** How the archives of this site do, as its rows have it. */
export const archiveCollector = provideCollector({
  name: 'archives',
  metrics: [
    archives,
    newestRun,
    archiveAlarm,
    storedBytes,
    pointsUnproven,
    pointsFailed,
    unprovenOldest,
    retentionPaused,
    changeUnjudged,
    objectsDamaged,
    checkedRatio,
    copyMissing,
    copyBehind,
  ],
  from: [SiteUnitOfWork],
  collect: (work) =>
    work.measure(async (tx) => {
      const rows = await tx.query<Row>(ROWS);
      const proofs = await tx.query<Proofs>(PROOFS);
      const byWorkload = new Map(proofs.map((each) => [each.workloadId, each]));
      const oldest = proofs.reduce((most, each) => Math.max(most, each.oldest), 0);
      return [
        ...(await byState(tx)),
        ...rows.flatMap((row) => samplesOf(row, byWorkload.get(row.workloadId))),
        { metric: unprovenOldest, labels: {}, value: oldest },
      ];
    }),
});

async function byState(tx: SiteTransaction): Promise<Sample[]> {
  const rows = await tx.query<{ state: ArchiveState; count: number }>(
    'SELECT state, count(*)::int AS count FROM archive GROUP BY state',
  );
  return ARCHIVE_STATES.map((state) => ({
    metric: archives,
    labels: { state },
    value: rows.find((row) => row.state === state)?.count ?? 0,
  }));
}

function samplesOf(row: Row, proofs: Proofs | undefined): Sample[] {
  const labels = { workload_id: row.workloadId };
  const known = (metric: Sample['metric'], value: number | null): Sample[] =>
    value === null ? [] : [{ metric, labels, value }];
  return [
    ...known(newestRun, row.newestRun),
    ...[...new Set(row.alarms.map(({ code }) => code))].map((code) => ({
      metric: archiveAlarm,
      labels: { ...labels, code },
      value: 1,
    })),
    ...known(storedBytes, row.storedBytes),
    ...known(pointsUnproven, proofs?.unproven ?? 0),
    ...known(pointsFailed, proofs?.failed ?? 0),
    ...known(retentionPaused, row.held),
    ...known(changeUnjudged, row.changeUnjudged),
    ...known(objectsDamaged, row.damaged),
    ...known(checkedRatio, row.checkedRatio),
    ...known(copyMissing, row.copyMissing),
    ...known(copyBehind, row.copyBehind),
  ];
}
