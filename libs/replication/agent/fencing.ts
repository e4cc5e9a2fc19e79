import type { Alarm, PulseRequest, PulseWorkload } from '#contracts/replication';

export type PulseEntry = PulseRequest['workloads'][number];

/** The fencing of a server whose epoch is over; failover's part of a pulse. */
export interface Fencing {
  /** Compares the site's epoch with the server's, and fences the server when the site's is newer. */
  observe(entry: PulseEntry): Promise<void>;
  report(): {
    readonly fenced: PulseWorkload['fenced'];
    readonly divergence: PulseWorkload['divergence'];
    readonly alarms: readonly Alarm[];
  };
}
