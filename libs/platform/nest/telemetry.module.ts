import {
  type DynamicModule,
  Global,
  type LoggerService,
  Module,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleDestroy,
} from '@nestjs/common';
import { type Observability, UNOBSERVED } from '#libs/platform/config';
import {
  createLogger,
  InternalEndpoint,
  type Logger,
  Metrics,
  ProcessHealth,
  startTracing,
} from '#libs/platform/telemetry';

/** Injects the process's logger as {@link AppLogger}. */
export class AppLogger {
  constructor(readonly log: Logger) {}
}

/** Lets Nest's own messages go through the structured log. */
export class NestLogger implements LoggerService {
  constructor(private readonly logger: Logger) {}

  log(message: unknown): void {
    this.logger.debug(String(message));
  }
  error(message: unknown, stack?: unknown): void {
    this.logger.error({ stack: typeof stack === 'string' ? stack : undefined }, String(message));
  }
  warn(message: unknown): void {
    this.logger.warn(String(message));
  }
}

/** The life of what observes the process: traces from before the first work to after the last, figures in between. */
export class Observing implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown {
  private constructor(
    private readonly health: ProcessHealth,
    private readonly endpoint: InternalEndpoint | undefined,
    private readonly endTracing: (() => Promise<void>) | undefined,
  ) {}

  static async of(
    name: string,
    { metrics: address, otlpEndpoint }: Observability,
    parts: { readonly log: Logger; readonly metrics: Metrics; readonly health: ProcessHealth },
  ): Promise<Observing> {
    const { log, metrics, health } = parts;
    // Before anything counts, so that nothing of the start is missed.
    if (address) await metrics.open();
    return new Observing(
      health,
      address ? new InternalEndpoint(address, metrics, health, log) : undefined,
      otlpEndpoint === null ? undefined : await startTracing({ process: name, endpoint: otlpEndpoint }),
    );
  }

  /** The port of `/metrics`; undefined when it is not served. */
  get port(): number | undefined {
    return this.endpoint?.port;
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.endpoint?.open();
    this.health.begins();
  }

  onModuleDestroy(): void {
    this.health.ends();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.endpoint?.close();
    await this.endTracing?.();
  }
}

@Global()
@Module({})
export class TelemetryModule {
  /** @param name the process, for example `site Olympia metro` */
  static forProcess(name: string, level?: string, observability: Observability = UNOBSERVED): DynamicModule {
    const logger = new AppLogger(createLogger(level === undefined ? { name } : { name, level }));
    const metrics = new Metrics(logger.log);
    const health = new ProcessHealth();
    return {
      module: TelemetryModule,
      providers: [
        { provide: AppLogger, useValue: logger },
        { provide: Metrics, useValue: metrics },
        { provide: ProcessHealth, useValue: health },
        {
          provide: Observing,
          useFactory: () => Observing.of(name, observability, { log: logger.log, metrics, health }),
        },
      ],
      exports: [AppLogger, Metrics, ProcessHealth, Observing],
    };
  }
}
