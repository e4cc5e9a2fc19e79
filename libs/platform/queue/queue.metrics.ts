import { type Collector, defineGauge, defineHistogram, type Sample } from '#libs/platform/telemetry';
import type { QueueName } from './job-contract.js';

/** What a queue holds now. */
export interface QueueDepth {
  readonly waiting: number;
  readonly active: number;
  /** Not due yet: sweeps' next turns, and pauses between tries. */
  readonly delayed: number;
  /** Tries used up, within the last day. */
  readonly failed: number;
  /** Seconds since the oldest waiting job was added; 0 when none waits. */
  readonly oldestWaitingSeconds: number;
}

export const queueJobs = defineGauge('mainstay_queue_jobs', 'Jobs of a queue, by state; failed ones are kept a day.', [
  'queue',
  'state',
]);
export const queueOldestWaiting = defineGauge(
  'mainstay_queue_oldest_waiting_seconds',
  'Age of the oldest job that waits for a worker; 0 when none waits.',
  ['queue'],
);
export const jobDuration = defineHistogram(
  'mainstay_job_duration_seconds',
  'How long one try of a job took, by its end (done or failed).',
  ['job_name', 'outcome'],
  [0.005, 0.025, 0.1, 0.5, 2, 10, 60, 600],
);

/** How full the queues are that this process works on. */
export class QueueCollector implements Collector {
  readonly name = 'queues';
  readonly metrics = [queueJobs, queueOldestWaiting];

  constructor(
    private readonly queues: readonly QueueName[],
    private readonly depth: (queue: QueueName) => Promise<QueueDepth>,
  ) {}

  async collect(): Promise<Sample[]> {
    const samples: Sample[] = [];
    // One after another: figures must not take the connections that jobs need.
    for (const queue of this.queues) {
      const { oldestWaitingSeconds, ...counts } = await this.depth(queue);
      for (const [state, value] of Object.entries(counts)) {
        samples.push({ metric: queueJobs, labels: { queue, state }, value });
      }
      samples.push({ metric: queueOldestWaiting, labels: { queue }, value: oldestWaitingSeconds });
    }
    return samples;
  }
}
