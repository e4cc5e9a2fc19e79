import {
  createPostgresBackend,
  DEFAULT_SCHEMA,
  type JobsOptions,
  type Processor,
  Queue,
  runMigrations,
  withBackend,
  Worker,
} from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';

export type Envelope = Record<string, unknown>;

/** What the product uses of a BullMQ queue, whatever its store. */
export interface JobQueueHandle {
  add(name: string, data: Envelope, options: JobsOptions): Promise<unknown>;
  upsertJobScheduler(
    id: string,
    repeat: { every: number },
    template: { name: string; data: Envelope; opts: JobsOptions },
  ): Promise<unknown>;
  getJobCounts(...states: ('waiting' | 'active' | 'delayed' | 'failed')[]): Promise<Record<string, number>>;
  /** The oldest first when `ascending`. */
  getJobs(states: 'waiting'[], start: number, end: number, ascending: boolean): Promise<readonly WaitingJob[]>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}

export interface WaitingJob {
  /** When it was added, in milliseconds since 1970. */
  readonly timestamp: number;
}

/** What the product uses of a BullMQ worker. */
export interface JobWorkerHandle {
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'failed', listener: (job: FailedJob | undefined, error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
}

export interface FailedJob {
  readonly name: string;
  readonly attemptsMade: number;
}

/** The store behind the queues: PostgreSQL or Redis, behind the same two calls. */
export interface QueueBackend {
  readonly kind: 'postgres' | 'redis';
  queue(name: string): JobQueueHandle;
  worker(name: string, processor: Processor<Envelope>, options: { concurrency: number }): JobWorkerHandle;
  close(): Promise<void>;
}

/** A job that was lost with its worker is given to another after this long. */
const LOCK_MS = 30_000;
const workerOptions = (concurrency: number) => ({
  concurrency,
  lockDuration: LOCK_MS,
  stalledInterval: 5_000,
  maxStalledCount: 20,
  removeOnComplete: { age: 3_600, count: 1_000 },
  removeOnFail: { age: 86_400, count: 5_000 },
});

/** Makes the queue's tables in the database of `url`, as the owner of the schema. Safe to repeat. */
export async function migrateQueue(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'mainstay migrate queue' });
  await client.connect();
  try {
    await runMigrations(client, DEFAULT_SCHEMA);
  } finally {
    await client.end();
  }
}

const { Queue: PostgresQueue, Worker: PostgresWorker } = withBackend(createPostgresBackend);

type OnError = (error: Error) => void;

function postgresBackend(url: string, onError: OnError): QueueBackend {
  // One pool for all queues: each queue given a config object would open a pool of its own. Each queue that this process
  // works on keeps one of the connections, on which it hears of new jobs.
  const pool = new pg.Pool({
    connectionString: url,
    max: 12,
    application_name: 'mainstay queue',
    options: `-c search_path=${DEFAULT_SCHEMA}`,
    keepAlive: true,
  });
  pool.on('error', (error) => onError(error));
  // Each queue and worker adds its own.
  pool.setMaxListeners(50);
  return {
    kind: 'postgres',
    queue: (name) => new PostgresQueue<Envelope>(name, { connection: pool }),
    worker: (name, processor, { concurrency }) =>
      new PostgresWorker<Envelope>(name, processor, { connection: pool, ...workerOptions(concurrency) }),
    close: () => pool.end(),
  };
}

function redisBackend(url: string, prefix: string, onError: OnError): QueueBackend {
  const connections: Redis[] = [];
  const connect = (): Redis => {
    const connection = new Redis(url, { maxRetriesPerRequest: null, enableReadyCheck: true });
    connection.on('error', onError);
    connections.push(connection);
    return connection;
  };
  const shared = connect();
  return {
    kind: 'redis',
    queue: (name) => new Queue<Envelope>(name, { connection: shared, prefix }),
    worker: (name, processor, { concurrency }) =>
      new Worker<Envelope>(name, processor, { connection: connect(), prefix, ...workerOptions(concurrency) }),
    close: async () => {
      for (const connection of connections) connection.disconnect();
    },
  };
}

/** `prefix` keeps the queues of two cells apart on one Redis; on PostgreSQL each cell has its own database. */
export function createQueueBackend(url: string, prefix: string, onError: OnError): QueueBackend {
  return /^rediss?:/.test(url) ? redisBackend(url, prefix, onError) : postgresBackend(url, onError);
}
