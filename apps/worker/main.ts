import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { ConfigurationError, loadConfig } from '#libs/platform/config';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { workerEnvironment } from './worker.environment.js';
import { WorkerModule } from './worker.module.js';

try {
  const module = WorkerModule.forProcess(loadConfig(workerEnvironment));
  const app = await NestFactory.createApplicationContext(module, { bufferLogs: true, abortOnError: false });
  app.useLogger(new NestLogger(app.get(AppLogger).log));
  // On SIGTERM what has begun is finished, and the sites' results are left to another worker.
  app.enableShutdownHooks();
} catch (error) {
  process.stderr.write(`${error instanceof ConfigurationError ? error.message : String((error as Error).stack)}\n`);
  process.exit(1);
}
