import {
  type DynamicModule,
  Global,
  Inject,
  Module,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { DiscoveryModule, DiscoveryService } from '@nestjs/core';
import { AppLogger } from '#libs/platform/nest';
import { Metrics, ProcessHealth } from '#libs/platform/telemetry';
import { createQueueBackend, type QueueBackend } from './backend.js';
import { HANDLES } from './handles.js';
import type { JobContract, JobHandler } from './job-contract.js';
import { JobQueue } from './job-queue.js';
import { JobRunner, matchHandlers, type RegisteredHandler } from './job-runner.js';

export interface QueueModuleOptions {
  /** `postgres://…` or `redis://…`. */
  readonly url: string;
  /** Keeps this cell's queues apart from another's on one Redis. */
  readonly prefix: string;
  /** The contracts that this process runs; empty in a process that only wakes others. */
  readonly runs: readonly JobContract<never>[];
}

const BACKEND = Symbol('queue backend');
const OPTIONS = Symbol('queue options');

/** Starts the jobs once the application stands, and fails the start when a contract lacks its handler. */
class QueueLifecycle implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly runner: JobRunner;

  constructor(
    @Inject(OPTIONS) private readonly options: QueueModuleOptions,
    @Inject(BACKEND) private readonly backend: QueueBackend,
    private readonly queue: JobQueue,
    private readonly discovery: DiscoveryService,
    logger: AppLogger,
    metrics: Metrics,
    private readonly health: ProcessHealth,
  ) {
    this.runner = new JobRunner(backend, queue, logger.log, metrics);
  }

  async onApplicationBootstrap(): Promise<void> {
    const handlers: RegisteredHandler[] = [];
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const contract = Reflect.getMetadata(HANDLES, metatype) as JobContract<never> | undefined;
      if (contract) handlers.push({ contract, handler: wrapper.instance as JobHandler<never> });
    }
    // A process that only wakes others may load handlers with a library's module: it does not run them.
    if (this.options.runs.length === 0) return;
    const begun = this.runner.start(matchHandlers(this.options.runs, handlers));
    this.health.needs('jobs', () => begun);
    await begun;
  }

  /** Jobs end while the databases are still there. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.runner.close();
  }

  /** Last, since a request in flight may still wake somebody. */
  async onApplicationShutdown(): Promise<void> {
    await this.queue.close();
    await this.backend.close();
  }
}

@Global()
@Module({})
export class QueueModule {
  static forProcess(options: QueueModuleOptions): DynamicModule {
    return {
      module: QueueModule,
      imports: [DiscoveryModule],
      providers: [
        { provide: OPTIONS, useValue: options },
        {
          provide: BACKEND,
          inject: [AppLogger],
          useFactory: (logger: AppLogger) =>
            createQueueBackend(options.url, options.prefix, (error) => logger.log.warn({ err: error }, 'queue store')),
        },
        {
          provide: JobQueue,
          inject: [BACKEND, AppLogger],
          useFactory: (backend: QueueBackend, logger: AppLogger) => new JobQueue(backend, logger.log),
        },
        {
          provide: QueueLifecycle,
          inject: [OPTIONS, BACKEND, JobQueue, DiscoveryService, AppLogger, Metrics, ProcessHealth],
          useFactory: (...parts: ConstructorParameters<typeof QueueLifecycle>) => new QueueLifecycle(...parts),
        },
      ],
      exports: [JobQueue],
    };
  }
}
