import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ConfigurationError } from '#libs/platform/config';
import { DatabaseModule } from '#libs/platform/database';
import { AppLogger, NestLogger, TelemetryModule } from '#libs/platform/nest';
import { LinkProcessModule } from '#libs/replication/site/link';
import { loadLinkEnvironment } from './link-environment.js';

/** Pulses, links and leases are short statements: a few connections serve hundreds of agents. */
const CONNECTIONS = 6;

async function start(): Promise<void> {
  const environment = loadLinkEnvironment();
  const { settings, databaseUrl, logLevel, observability } = environment;

  @Module({
    imports: [
      TelemetryModule.forProcess(`link ${settings.name}`, logLevel, observability),
      DatabaseModule.forSite({ url: databaseUrl, applicationName: 'mainstay link', max: CONNECTIONS }),
      LinkProcessModule.forProcess(environment),
    ],
  })
  class LinkApplicationModule {}

  const app = await NestFactory.createApplicationContext(LinkApplicationModule, { bufferLogs: true });
  app.useLogger(new NestLogger(app.get(AppLogger).log));
  app.enableShutdownHooks();
}

start().catch((error: unknown) => {
  console.error(error instanceof ConfigurationError ? error.message : error);
  process.exitCode = 1;
  // What was opened before the failure would keep a half-started process alive.
  setImmediate(() => process.exit());
});
