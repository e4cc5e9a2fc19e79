import { continueTrace, type Logger, type Metrics, type SpanOptions, withLogContext } from '#libs/platform/telemetry';
import type { JobWorkerHandle, QueueBackend } from './backend.js';
import { type JobContract, type JobHandler, QUEUES, type QueueName } from './job-contract.js';
import type { JobQueue } from './job-queue.js';
import { jobDuration, QueueCollector } from './queue.metrics.js';

export interface RegisteredHandler {
  readonly contract: JobContract<never>;
  readonly handler: JobHandler<never>;
}

/** A job contract that nobody handles, or that two handle: the start fails, so that no job succeeds silently. */
export class HandlerMismatchError extends Error {
  constructor(faults: readonly string[]) {
    super(`job contracts and handlers do not match: ${faults.join('; ')}`);
    this.name = 'HandlerMismatchError';
  }
}

/** @throws HandlerMismatchError unless each contract has exactly one handler, and each handler a contract. */
export function matchHandlers(
  contracts: readonly JobContract<never>[],
  handlers: readonly RegisteredHandler[],
): Map<string, RegisteredHandler> {
  const faults: string[] = [];
  const matched = new Map<string, RegisteredHandler>();
  for (const contract of contracts) {
    const found = handlers.filter((registered) => registered.contract.name === contract.name);
    if (found.length !== 1) faults.push(`${contract.name} has ${found.length} handlers`);
    for (const registered of found) matched.set(contract.name, registered);
  }
  for (const { contract } of handlers) {
    if (!contracts.includes(contract)) faults.push(`${contract.name} is handled here but not listed`);
  }
  if (faults.length > 0) throw new HandlerMismatchError(faults);
  return matched;
}

/** Runs the jobs of one process. Closing waits for those that have begun, and tells them by their signal. */
export class JobRunner {
  private readonly workers: JobWorkerHandle[] = [];
  private readonly stopping = new AbortController();
  /** Jobs that have left their slots and go on. */
  private readonly beside = new Set<Promise<void>>();

  constructor(
    private readonly backend: QueueBackend,
    private readonly queue: JobQueue,
    private readonly log: Logger,
    private readonly metrics?: Metrics,
  ) {}

  async start(handlers: ReadonlyMap<string, RegisteredHandler>): Promise<void> {
    const names = new Set<QueueName>([...handlers.values()].map(({ contract }) => contract.queue));
    this.metrics?.counts(jobDuration);
    this.metrics?.register(new QueueCollector([...names], (name) => this.queue.depth(name)));
    for (const name of names) this.workers.push(this.work(name, handlers));
    for (const { contract } of handlers.values()) {
      if (contract.everyMs !== undefined) await this.queue.schedule(contract as never, contract.everyMs);
    }
    await Promise.all(this.workers.map((worker) => worker.waitUntilReady()));
  }

  private work(name: QueueName, handlers: ReadonlyMap<string, RegisteredHandler>): JobWorkerHandle {
    const worker = this.backend.worker(
      name,
      async (job) => {
        const registered = handlers.get(job.name);
        if (!registered) throw new Error(`no handler for job ${job.name}`);
        const payload = registered.contract.payload.parse(job.data);
        const jobId = job.id ?? 'unknown';
        const turn = { jobId, attempt: job.attemptsMade + 1, parent: job.opts.telemetry?.metadata };
        await this.inSlot(registered.contract, () =>
          withLogContext({ jobId }, () => this.run(registered, payload, turn)),
        );
      },
      { concurrency: QUEUES[name].concurrency },
    );
    worker.on('error', (error: Error) => this.log.warn({ err: error, queue: name }, 'queue worker'));
    worker.on('failed', (job, error) => {
      this.log.warn({ err: error, job: job?.name, attempt: job?.attemptsMade }, 'a job failed');
    });
    return worker;
  }

  /** Returns when the job has ended, or its time in the slot is over. */
  private async inSlot({ name, slotMs }: JobContract<never>, work: () => Promise<void>): Promise<void> {
    const running = work();
    if (slotMs === undefined) return running;
    const { promise: over, resolve } = Promise.withResolvers<'over'>();
    const timer = setTimeout(() => resolve('over'), slotMs);
    try {
      if ((await Promise.race([running, over])) !== 'over') return;
    } finally {
      clearTimeout(timer);
    }
    const tracked: Promise<void> = running
      .catch((error: unknown) => this.log.warn({ err: error, job: name, attempt: 1 }, 'a job failed'))
      .finally(() => this.beside.delete(tracked));
    this.beside.add(tracked);
  }

  private async run({ contract, handler }: RegisteredHandler, payload: never, turn: Turn): Promise<void> {
    const began = performance.now();
    let outcome = 'failed';
    try {
      await continueTrace(turn.parent, `job ${contract.name}`, spanOf(contract, payload, turn), () =>
        handler.handle(payload, this.stopping.signal),
      );
      outcome = 'done';
    } finally {
      const milliseconds = performance.now() - began;
      this.metrics?.observe(jobDuration, { job_name: contract.name, outcome }, milliseconds / 1_000);
      if (outcome === 'done') {
        this.log.debug({ job: contract.name, milliseconds: Math.round(milliseconds) }, 'job done');
      }
    }
  }

  async close(): Promise<void> {
    this.stopping.abort(new Error('this process is stopping'));
    await Promise.all(this.workers.map((worker) => worker.close()));
    await Promise.all(this.beside);
  }
}

/** One try of a job. */
interface Turn {
  readonly jobId: string;
  readonly attempt: number;
  /** The traceparent of what woke the job. */
  readonly parent: string | undefined;
}

/** The payload's ids go along: payloads hold nothing else (see {@link JobContract}). */
function spanOf(contract: JobContract<never>, payload: object, { jobId, attempt }: Turn): SpanOptions {
  const ids = Object.entries(payload).filter(([key, value]) => key.endsWith('Id') && typeof value === 'string');
  const named = ids.map(([key, value]) => [`mainstay.${snake(key)}`, value as string]);
  return {
    kind: 'consumer',
    attributes: {
      'mainstay.job': contract.name,
      'mainstay.queue': contract.queue,
      'mainstay.job_id': jobId,
      'mainstay.attempt': attempt,
      ...(Object.fromEntries(named) as Record<string, string>),
    },
  };
}

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
