import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { provideCollector } from '#libs/platform/nest';
import { defineCounter, defineGauge, defineHistogram, type Sample } from '#libs/platform/telemetry';

export const runsTotal = defineCounter(
  'mainstay_failover_runs_total',
  'Failover runs of this site that have ended, by their outcome (completed, cancelled, failed).',
  ['outcome'],
);
export const runOpen = defineGauge(
  'mainstay_failover_run_open_seconds',
  'Since this site has had the order of a failover run that has not ended, by the run’s state.',
  ['workload_id', 'state'],
);
export const secondsToFirstWrite = defineHistogram(
  'mainstay_failover_first_write_seconds',
  'From this site’s receipt of a failover order to the first write that it accepted.',
  [],
  [0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300],
);
export const stepSeconds = defineHistogram(
  'mainstay_failover_step_seconds',
  'How long a step of a failover run took, with all its attempts.',
  ['step'],
  [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300],
);

const OUTCOMES = ['completed', 'cancelled', 'failed'] as const;

interface Bound {
  readonly label: string;
  readonly atOrBelow: number;
  readonly sum: number;
  readonly count: number;
}

/**
 * Runs as this site's rows have them: a process that is killed in the middle of one, as on the worst day, loses no
 * figure, and those of years of runs are a few thousand rows.
 */
export const failoverCollector = provideCollector({
  name: 'failovers',
  metrics: [runsTotal, runOpen, secondsToFirstWrite, stepSeconds],
  from: [SiteUnitOfWork],
  collect: (work) =>
    work.measure(async (tx) => [
      ...(await ended(tx)),
      ...(await open(tx)),
      ...(await distribution(
        tx,
        secondsToFirstWrite,
        `SELECT '' AS label, extract(epoch FROM first_write_at - received_at)::float8 AS seconds
             FROM failover_run WHERE first_write_at IS NOT NULL`,
      )),
      ...(await distribution(
        tx,
        stepSeconds,
        `SELECT step AS label, extract(epoch FROM ended_at - started_at)::float8 AS seconds
             FROM failover_step WHERE state = 'done'`,
      )),
    ]),
});

async function ended(tx: SiteTransaction): Promise<Sample[]> {
  const rows = await tx.query<{ state: string; count: number }>(
    'SELECT state, count(*)::int AS count FROM failover_run WHERE state = ANY($1) GROUP BY state',
    [OUTCOMES],
  );
  return OUTCOMES.map((outcome) => ({
    metric: runsTotal,
    labels: { outcome },
    value: rows.find(({ state }) => state === outcome)?.count ?? 0,
  }));
}

async function open(tx: SiteTransaction): Promise<Sample[]> {
  const rows = await tx.query<{ workloadId: string; state: string; seconds: number }>(
    `SELECT workload_id AS "workloadId", state, extract(epoch FROM clock_timestamp() - received_at)::float8 AS seconds
       FROM failover_run WHERE state <> ALL($1)`,
    [OUTCOMES],
  );
  return rows.map(({ workloadId, state, seconds }) => ({
    metric: runOpen,
    labels: { workload_id: workloadId, state },
    value: seconds,
  }));
}

/** Counts in the database by the metric's buckets; `source` gives `label` and `seconds`. */
async function distribution(tx: SiteTransaction, metric: Sample['metric'], source: string): Promise<Sample[]> {
  const rows = await tx.query<Bound>(
    `SELECT label, count(*) FILTER (WHERE seconds <= bound)::int AS "atOrBelow", sum(seconds) AS sum, count(*)::int AS count
       FROM (${source}) measured, unnest($1::float8[]) bound GROUP BY label, bound ORDER BY label, bound`,
    [[...metric.buckets]],
  );
  return [...Map.groupBy(rows, ({ label }) => label)].map(([label, bounds]) => ({
    metric,
    labels: Object.fromEntries(metric.labels.map((name) => [name, label])),
    distribution: {
      atOrBelow: bounds.map(({ atOrBelow }) => atOrBelow),
      sum: bounds[0]?.sum ?? 0,
      count: bounds[0]?.count ?? 0,
    },
  }));
}
