import { waitFor } from '#libs/platform/clock';
import type { SiteUnitOfWork } from '#libs/platform/database';

/** What a site's database says of its work. */
export abstract class SiteRecords {
  abstract get work(): SiteUnitOfWork;

  /** Results of one kind, oldest first. */
  async results<P>(kind: string): Promise<P[]> {
    const rows = await this.work.run((tx) =>
      tx.query<{ payload: P }>('SELECT payload FROM site_result WHERE kind = $1 ORDER BY written', [kind]),
    );
    return rows.map(({ payload }) => payload);
  }

  /** What steps said when they ended, by step. */
  async steps(runId: string): Promise<Record<string, { state: string; evidence: Record<string, unknown> }>> {
    const rows = await this.work.run((tx) =>
      tx.query<{ step: string; state: string; evidence: Record<string, unknown> }>(
        'SELECT step, state, evidence FROM failover_step WHERE run_id = $1',
        [runId],
      ),
    );
    return Object.fromEntries(rows.map(({ step, ...rest }) => [step, rest]));
  }

  async runState(runId: string): Promise<string | undefined> {
    const rows = await this.work.run((tx) =>
      tx.query<{ state: string }>('SELECT state FROM failover_run WHERE id = $1', [runId]),
    );
    return rows[0]?.state;
  }

  async finished(runId: string, timeoutMs = 60_000): Promise<{ state: string; report: Record<string, never> }> {
    return waitFor(
      'the run to end',
      async () =>
        (await this.results<{ state: string; report: Record<string, never> }>('failover.finished')).find(
          ({ report }) => (report['runId'] as unknown) === runId,
        ),
      { timeoutMs },
    );
  }
}
