import { z } from 'zod';
import { loadConfig, port, secretFile } from '#libs/platform/config';
import type { LinkProcessOptions } from '#libs/replication/site/link';
import { siteEnvironment, siteProcess, type SiteProcess } from '#libs/sites/site/gateway';
import { VERSION } from './version.js';

const environment = siteEnvironment.extend({
  GATEWAY_HOST: z.string().min(1),
  GATEWAY_PORT: port(),
  GATEWAY_CERT_FILE: secretFile(),
  GATEWAY_KEY_FILE: secretFile(),
  SITE_PRIVATE_KEY_FILE: secretFile(),
});

export type LinkEnvironment = SiteProcess & Pick<LinkProcessOptions, 'gateway'>;

/** The link process's settings, typed. @throws ConfigurationError naming each faulty setting. */
export function loadLinkEnvironment(variables?: NodeJS.ProcessEnv): LinkEnvironment {
  const read = loadConfig(environment, variables);
  return {
    ...siteProcess(read),
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
