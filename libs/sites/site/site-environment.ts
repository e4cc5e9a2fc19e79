import { z } from 'zod';
import { databaseUrl, type Observability, observabilityOf, observabilitySettings } from '#libs/platform/config';
import type { SiteSettingsValues } from './site-settings.js';

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

/** The archive's restic, and the servers into which it loads dumps: no workload's server may be within their reach. */
const PROGRAM_UIDS = { first: 60_578, last: 60_705 };

const uidRange = z
  .string()
  .regex(/^\d{4,10}-\d{4,10}$/, 'must be two user numbers, such as 60706-61183')
  .transform((text, context) => {
    const [first = 0, last = 0] = text.split('-').map(Number);
    if (first < 1_000 || last > 2_147_483_647 || first > last) {
      context.addIssue({ code: 'custom', message: 'must be a range of user numbers from 1000 on' });
      return z.NEVER;
    }
    if (first <= PROGRAM_UIDS.last && last >= PROGRAM_UIDS.first) {
      const own = `${PROGRAM_UIDS.first} to ${PROGRAM_UIDS.last}`;
      const message = `must hold none of ${own}: as those the site runs programs that read what agencies archive`;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    }
    return { first, last };
  })
  .optional();

const folders = z
  .string()
  .transform((text) => text.split(',').map((each) => each.trim()))
  .pipe(z.array(z.string().regex(/^\/[^/]/, 'must be absolute paths with commas between')).min(1))
  .optional();

/** How the site process runs standbys on its host. */
export const standbyEnvironment = z.object({
  /** Each workload's server runs as one of these user numbers, where the process is root. */
  SITE_UID_RANGE: uidRange,
  /** Folders of the host below which tablespaces may have the paths that they have at the agency. */
  SITE_TABLESPACE_ROOTS: folders,
});

/** The settings that both processes of a site have, by the names of their variables. */
export const siteEnvironment = z.object({
  SITE_ID: z.uuid(),
  SITE_NAME: z.string().min(1),
  SITE_DIRECTORY: z.string().startsWith('/'),
  LINK_SOCKET: z.string().startsWith('/'),
  SITE_SOCKET: z.string().startsWith('/'),
  FRONT_DOOR_HOST: z.string().min(1),
  SITE_PORTS: portRange,
  POSTGRES_BIN: z.string().startsWith('/').optional(),
  SITE_DATABASE_URL: databaseUrl(),
  LOG_LEVEL: z.string().default('info'),
  ...observabilitySettings,
});

/** What both processes of a site know of themselves. */
export interface SiteProcess {
  readonly settings: SiteSettingsValues;
  readonly databaseUrl: string;
  readonly logLevel: string;
  readonly observability: Observability;
}

export function siteProcess(read: z.infer<typeof siteEnvironment>): SiteProcess {
  return {
    settings: siteSettings(read),
    databaseUrl: read.SITE_DATABASE_URL,
    logLevel: read.LOG_LEVEL,
    observability: observabilityOf(read),
  };
}

function siteSettings(read: z.infer<typeof siteEnvironment>): SiteSettingsValues {
  return {
    siteId: read.SITE_ID,
    name: read.SITE_NAME,
    directory: read.SITE_DIRECTORY,
    frontDoorHost: read.FRONT_DOOR_HOST,
    linkSocket: read.LINK_SOCKET,
    siteSocket: read.SITE_SOCKET,
    ports: read.SITE_PORTS,
    postgresBin: read.POSTGRES_BIN ?? null,
  };
}
