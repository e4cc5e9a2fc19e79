import { z } from 'zod';
import { archiveEnvironment, archiveFaults, type ArchiveSettings, archiveSettings } from '#libs/archive/site';
import { loadConfig, port, secretFile, type Observability } from '#libs/platform/config';
import {
  siteEnvironment,
  siteProcess,
  standbyEnvironment,
  type ProcessDriverOptions,
  type SiteProcess,
} from '#libs/sites/site';

const settings = siteEnvironment.extend({
  SITE_QUEUE_URL: z.string().regex(/^(postgres(ql)?|rediss?):\/\//, 'must be a postgres:// or redis:// address'),
  SITE_ORDER_HOST: z.string().min(1),
  SITE_ORDER_PORT: port(),
  SITE_TLS_CERT_FILE: secretFile(),
  SITE_TLS_KEY_FILE: secretFile(),
  CONTROL_CA_FILE: secretFile(),
  CONTROL_COMMON_NAME: z.string().min(1).default('control'),
  ORDER_PUBLIC_KEY_FILE: secretFile(),
  ...standbyEnvironment.shape,
  ...archiveEnvironment.shape,
});
const environment = settings.superRefine((read, context) => {
  archiveFaults(read, (name, message) => context.addIssue({ code: 'custom', path: [name], message }));
});

/** The site process's settings, typed. */
export interface SiteEnvironment extends Omit<SiteProcess, 'observability'> {
  /** Null, or left out: the site has no vault. */
  readonly archive?: ArchiveSettings | null;
  readonly observability?: Observability;
  readonly queueUrl: string;
  readonly standbys?: Pick<ProcessDriverOptions, 'uids' | 'tablespaceRoots'>;
  /** PEM (SPKI) of the control plane's Ed25519 key. */
  readonly orderPublicKey: string;
  readonly endpoint: {
    readonly host: string;
    readonly port: number;
    readonly certificate: string;
    readonly key: string;
    /** PEM of the authority that signs the control plane's certificates. */
    readonly authority: string;
    /** The common name in the control plane's certificate: of the authority's other certificates none is let in. */
    readonly controlName: string;
  };
}

/** @throws ConfigurationError naming each faulty setting. */
export function loadSiteEnvironment(variables?: NodeJS.ProcessEnv): SiteEnvironment {
  const read = loadConfig(environment, variables);
  return {
    ...siteProcess(read),
    queueUrl: read.SITE_QUEUE_URL,
    standbys: {
      ...(read.SITE_UID_RANGE ? { uids: read.SITE_UID_RANGE } : {}),
      ...(read.SITE_TABLESPACE_ROOTS ? { tablespaceRoots: read.SITE_TABLESPACE_ROOTS } : {}),
    },
    archive: archiveSettings(read, read.SITE_DIRECTORY, read.SITE_DATABASE_URL),
    orderPublicKey: read.ORDER_PUBLIC_KEY_FILE,
    endpoint: {
      host: read.SITE_ORDER_HOST,
      port: read.SITE_ORDER_PORT,
      certificate: read.SITE_TLS_CERT_FILE,
      key: read.SITE_TLS_KEY_FILE,
      authority: read.CONTROL_CA_FILE,
      controlName: read.CONTROL_COMMON_NAME,
    },
  };
}
