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
import { siteEnvironment, siteSettings, type SiteSettingsValues } from '#libs/sites/site';

const environment = siteEnvironment.extend({
  SITE_DATABASE_URL: databaseUrl(),
  SITE_QUEUE_URL: z.string().regex(/^(postgres(ql)?|rediss?):\/\//, 'must be a postgres:// or redis:// address'),
  SITE_ORDER_HOST: z.string().min(1),
  SITE_ORDER_PORT: port(),
  SITE_TLS_CERT_FILE: secretFile(),
  SITE_TLS_KEY_FILE: secretFile(),
  CONTROL_CA_FILE: secretFile(),
  ORDER_PUBLIC_KEY_FILE: secretFile(),
  LOG_LEVEL: z.string().default('info'),
  ...observabilitySettings,
});

/** The site process's settings, typed. */
export interface SiteEnvironment {
  readonly settings: SiteSettingsValues;
  readonly databaseUrl: string;
  readonly queueUrl: string;
  readonly logLevel: string;
  readonly observability?: Observability;
  /** PEM (SPKI) of the control plane's Ed25519 key. */
  readonly orderPublicKey: string;
  readonly endpoint: {
    readonly host: string;
    readonly port: number;
    readonly certificate: string;
    readonly key: string;
    /** PEM of the authority that signs the control plane's certificates. */
    readonly authority: string;
  };
}

/** @throws ConfigurationError naming each faulty setting. */
export function loadSiteEnvironment(variables?: NodeJS.ProcessEnv): SiteEnvironment {
  const read = loadConfig(environment, variables);
  return {
    settings: siteSettings(read),
    databaseUrl: read.SITE_DATABASE_URL,
    queueUrl: read.SITE_QUEUE_URL,
    logLevel: read.LOG_LEVEL,
    observability: observabilityOf(read),
    orderPublicKey: read.ORDER_PUBLIC_KEY_FILE,
    endpoint: {
      host: read.SITE_ORDER_HOST,
      port: read.SITE_ORDER_PORT,
      certificate: read.SITE_TLS_CERT_FILE,
      key: read.SITE_TLS_KEY_FILE,
      authority: read.CONTROL_CA_FILE,
    },
  };
}
