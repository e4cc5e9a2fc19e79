import 'reflect-metadata';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { NestFactory } from '@nestjs/core';
import { ConfigurationError } from '#libs/platform/config';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { ProcessDriver } from '#libs/sites/site';
import { siteDomains } from './domains.js';
import { loadSiteEnvironment } from './site-environment.js';
import { SiteProcessModule } from './site-process.module.js';

const ONE_USER =
  'All standbys of this site run as one user of the host, since this process is not root on Linux: the server of an agency can reach the files of the others. Put one agency on such a site.';

async function start(): Promise<void> {
  const environment = loadSiteEnvironment();
  // Before anybody makes a folder of secrets in it: the standbys' users must be able to pass through.
  await mkdir(environment.settings.directory, { recursive: true, mode: 0o711 });
  const driver = new ProcessDriver({
    root: path.join(environment.settings.directory, 'standbys'),
    ...environment.standbys,
  });
  const module = SiteProcessModule.forProcess(environment, driver, siteDomains(environment));
  const app = await NestFactory.createApplicationContext(module, { bufferLogs: true });
  app.useLogger(new NestLogger(app.get(AppLogger).log));
  if (!driver.separatesWorkloads) app.get(AppLogger).log.warn(ONE_USER);
  app.enableShutdownHooks();
}

start().catch((error: unknown) => {
  console.error(error instanceof ConfigurationError ? error.message : error);
  process.exitCode = 1;
  // What was opened before the failure would keep a half-started process alive.
  setImmediate(() => process.exit());
});
