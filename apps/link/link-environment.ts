import { z } from 'zod';
import {
  databaseUrl,
  loadConfig,
  type Observability,
  observabilityOf,
  observabilitySettings,
  port,
  secretFile,
} from '#libs/platform/config';
import type { LinkProcessOptions } from '#libs/replication/site/link';
import { siteEnvironment, siteSettings } from '#libs/sites/site/gateway';
import { VERSION } from './version.js';

const environment = siteEnvironment.extend({
  SITE_DATABASE_URL: databaseUrl(),
  GATEWAY_HOST: z.string().min(1),
  GATEWAY_PORT: port(),
  GATEWAY_CERT_FILE: secretFile(),
  GATEWAY_KEY_FILE: secretFile(),
  SITE_PRIVATE_KEY_FILE: secretFile(),
  LOG_LEVEL: z.string().default('info'),
  ...observabilitySettings,
});

export interface LinkEnvironment extends LinkProcessOptions {
  readonly logLevel: string;
  readonly observability: Observability;
}

/** The link process's settings, typed. @throws ConfigurationError naming each faulty setting. */
export function loadLinkEnvironment(variables?: NodeJS.ProcessEnv): LinkEnvironment {
  const read = loadConfig(environment, variables);
  return {
    settings: siteSettings(read),
    databaseUrl: read.SITE_DATABASE_URL,
    logLevel: read.LOG_LEVEL,
    observability: observabilityOf(read),
    gateway: {
      host: read.GATEWAY_HOST,
      port: read.GATEWAY_PORT,
      certificate: read.GATEWAY_CERT_FILE,
      key: read.GATEWAY_KEY_FILE,
      sitePrivateKey: read.SITE_PRIVATE_KEY_FILE,
      version: VERSION,
    },
  };
}
