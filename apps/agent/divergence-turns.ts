import type { PulseWorkload } from '#contracts/replication';

/**
 * What fenced servers have of their own may be long, and a pulse's answer is thrown away whole when it is too long: so each
 * answer to a site tells it of one workload, by turns. The site keeps what it has been told.
 */
export class DivergenceTurns {
  /** By site, the workload that it was last told of. */
  private readonly last = new Map<string, string>();

  /** The same answer to that site, with one workload's divergence at most. */
  thin(siteId: string, workloads: readonly PulseWorkload[]): PulseWorkload[] {
    const waiting = workloads.filter(({ divergence }) => divergence !== null).map(({ workloadId }) => workloadId);
    const turn = waiting[(waiting.indexOf(this.last.get(siteId) ?? '') + 1) % waiting.length];
    if (turn !== undefined) this.last.set(siteId, turn);
    return workloads.map((each) => (each.workloadId === turn ? each : { ...each, divergence: null }));
  }
}
