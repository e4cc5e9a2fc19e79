import { z } from 'zod';
import { databaseUrl, loadConfig, port, secretFile } from '#libs/platform/config';
import type { SiteSettingsValues } from '#libs/sites/site';

/** Ports for standbys, forwarders and front doors: below the ephemeral ranges of Linux and macOS. */
const DEFAULT_PORTS = '20000-29999';

const portRange = z
  .string()
  .regex(/^\d{4,5}-\d{4,5}$/, 'must be two ports, such as 20000-29999')
  .transform((text, context) => {
    const [first = 0, last = 0] = text.split('-').map(Number);
    if (first < 1_024 || last > 65_535 || first > last) {
      context.addIssue({ code: 'custom', message: 'must be a range of ports between 1024 and 65535' });
      return z.NEVER;
    }
    return { first, last };
  })
  .prefault(DEFAULT_PORTS);

const environment = z.object({
  SITE_ID: z.uuid(),
  SITE_NAME: z.string().min(1),
  SITE_DIRECTORY: z.string().startsWith('/'),
  SITE_DATABASE_URL: databaseUrl(),
  SITE_QUEUE_URL: z.string().regex(/^(postgres(ql)?|rediss?):\/\//, 'must be a postgres:// or redis:// address'),
  SITE_ORDER_HOST: z.string().min(1),
  SITE_ORDER_PORT: port(),
  SITE_TLS_CERT_FILE: secretFile(),
  SITE_TLS_KEY_FILE: secretFile(),
  CONTROL_CA_FILE: secretFile(),
  ORDER_PUBLIC_KEY_FILE: secretFile(),
  LINK_SOCKET: z.string().startsWith('/'),
  SITE_SOCKET: z.string().startsWith('/'),
  FRONT_DOOR_HOST: z.string().min(1),
  SITE_PORTS: portRange,
  POSTGRES_BIN: z.string().startsWith('/').optional(),
  LOG_LEVEL: z.string().default('info'),
});

/** The site process's settings, typed. */
export interface SiteEnvironment {
  readonly settings: SiteSettingsValues;
  readonly databaseUrl: string;
  readonly queueUrl: string;
  readonly logLevel: string;
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
    settings: {
      siteId: read.SITE_ID,
      name: read.SITE_NAME,
      directory: read.SITE_DIRECTORY,
      frontDoorHost: read.FRONT_DOOR_HOST,
      linkSocket: read.LINK_SOCKET,
      siteSocket: read.SITE_SOCKET,
      ports: read.SITE_PORTS,
      postgresBin: read.POSTGRES_BIN ?? null,
    },
    databaseUrl: read.SITE_DATABASE_URL,
    queueUrl: read.SITE_QUEUE_URL,
    logLevel: read.LOG_LEVEL,
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
