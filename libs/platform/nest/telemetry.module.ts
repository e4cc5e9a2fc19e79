import { type DynamicModule, Global, type LoggerService, Module } from '@nestjs/common';
import { createLogger, type Logger } from '#libs/platform/telemetry';

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

@Global()
@Module({})
export class TelemetryModule {
  static forProcess(name: string, level?: string): DynamicModule {
    const logger = new AppLogger(createLogger(level === undefined ? { name } : { name, level }));
    return {
      module: TelemetryModule,
      providers: [{ provide: AppLogger, useValue: logger }],
      exports: [AppLogger],
    };
  }
}
