import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { ConfigurationError, loadConfig, observabilityOf, observabilitySettings } from '#libs/platform/config';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { workerEnvironment } from './worker.environment.js';
import { WorkerModule } from './worker.module.js';

try {
  const environment = loadConfig(workerEnvironment.extend(observabilitySettings));
  const module = WorkerModule.forProcess(environment, observabilityOf(environment));
  const app = await NestFactory.createApplicationContext(module, { bufferLogs: true, abortOnError: false });
  app.useLogger(new NestLogger(app.get(AppLogger).log));
  // On SIGTERM what has begun is finished, and the sites' results are left to another worker.
  app.enableShutdownHooks();
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : String((error as Error).stack)}\n`);
  process.exit(1);
}
