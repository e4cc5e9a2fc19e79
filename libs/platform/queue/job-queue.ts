import { randomUUID } from 'node:crypto';
import { currentTraceparent, type Logger } from '#libs/platform/telemetry';
import type { JobQueueHandle, QueueBackend } from './backend.js';
import type { JobContract, QueueName } from './job-contract.js';
import type { QueueDepth } from './queue.metrics.js';

export interface WakeOptions {
  /**
   * Two wakes of one process with the same key become one job while the first has not ended. Not across processes: the
   * job of one that was killed would keep the next from taking the work up for as long as the queue believes in it.
   */
  readonly key?: string;
  readonly delayMs?: number;
}

/** Wakes whoever works on a row. Losing a wake-up loses time, never work: a sweep looks at the rows. */
export class JobQueue {
  private readonly queues = new Map<QueueName, JobQueueHandle>();
  /** This process, in the keys of its wakes. */
  private readonly process = randomUUID();

  constructor(
    private readonly backend: QueueBackend,
    private readonly log: Logger,
  ) {}

  /** @throws ZodError when the payload does not fit the contract. */
  async add<P>(contract: JobContract<P>, payload: P, options: WakeOptions = {}): Promise<void> {
    const data = contract.payload.parse(payload) as Record<string, unknown>;
    const traceparent = currentTraceparent();
    await this.handle(contract.queue).add(contract.name, data, {
      attempts: contract.retry.attempts,
      backoff: { type: 'exponential', delay: contract.retry.backoffMs, jitter: 0.5 },
      removeOnComplete: { age: 600, count: 500 },
      removeOnFail: { age: 86_400, count: 2_000 },
      ...(options.delayMs === undefined ? {} : { delay: options.delayMs }),
      // Beside the payload, in the field that BullMQ keeps for it: an older process takes the job as it always did.
      ...(traceparent === null ? {} : { telemetry: { metadata: traceparent } }),
      ...(options.key === undefined
        ? {}
        : { deduplication: { id: `${contract.name}/${this.process}/${options.key}` } }),
    });
  }

  /** Like {@link add} without waiting: for use after a commit, where a failure is the sweep's to mend. */
  wake<P>(contract: JobContract<P>, payload: P, options: WakeOptions = {}): void {
    this.add(contract, payload, options).catch((error: unknown) => {
      this.log.warn({ err: error, job: contract.name }, 'a wake-up was lost; the sweep will find the work');
    });
  }

  /** Registers a sweep's schedule; repeating it changes nothing. */
  async schedule(contract: JobContract<Record<string, never>>, everyMs: number): Promise<void> {
    await this.handle(contract.queue).upsertJobScheduler(
      contract.name,
      { every: everyMs },
      { name: contract.name, data: {}, opts: { removeOnComplete: { count: 10 }, removeOnFail: { count: 100 } } },
    );
  }

  /** What a queue holds now: two cheap look-ups. */
  async depth(name: QueueName): Promise<QueueDepth> {
    const queue = this.handle(name);
    const counts = await queue.getJobCounts('waiting', 'active', 'delayed', 'failed');
    const { waiting = 0, active = 0, delayed = 0, failed = 0 } = counts;
    const [oldest] = waiting === 0 ? [] : await queue.getJobs(['waiting'], 0, 0, true);
    const oldestWaitingSeconds = oldest ? Math.max(0, (Date.now() - oldest.timestamp) / 1_000) : 0;
    return { waiting, active, delayed, failed, oldestWaitingSeconds };
  }

  private handle(name: QueueName): JobQueueHandle {
    let queue = this.queues.get(name);
    if (!queue) {
      queue = this.backend.queue(name);
      queue.on('error', (error: Error) => this.log.warn({ err: error, queue: name }, 'queue'));
      this.queues.set(name, queue);
    }
    return queue;
  }

  async close(): Promise<void> {
    await Promise.all([...this.queues.values()].map((queue) => queue.close()));
  }
}
