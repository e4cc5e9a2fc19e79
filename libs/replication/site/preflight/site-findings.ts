import type { Finding, ServerFacts } from '#contracts/replication';
import { DomainError } from '#libs/platform/errors';
import { libraryNames, type SiteBuild, type SiteDriver } from '#libs/sites/site';
import { collationFindings } from './collation-findings.js';
import { blocker, listed, warning } from './finding.js';

/** Compiled in, and part of every file (PostgreSQL's docs, "Preset Options"). */
const PRESETS = ['block_size', 'wal_block_size', 'segment_size'] as const;
const LIBRARY_SETTINGS = ['shared_preload_libraries', 'session_preload_libraries', 'local_preload_libraries'] as const;

/**
 * What keeps this site from running a standby of the server, or a primary in its stead after a failover. What the server
 * does not say of itself is not compared.
 *
 * @throws what the driver throws when the site's own PostgreSQL does not answer
 */
export async function siteFindings(server: ServerFacts, driver: SiteDriver): Promise<Finding[]> {
  const build = await driver.build(server.majorVersion);
  return [
    ...checkPlatform(server, build),
    ...checkLibraries(server, build),
    ...checkExtensions(server, build),
    ...collationFindings(server, build),
    ...(await checkTablespaces(server, driver)),
  ];
}

/** Whether a copy has room; only before the first one is made, since it counts what is free now. */
export async function roomFindings({ sizeBytes }: ServerFacts, driver: SiteDriver): Promise<Finding[]> {
  const { diskFreeBytes } = await driver.capacity();
  if (sizeBytes * ROOM <= diskFreeBytes) return [];
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  return [
    blocker(
      'site.disk-too-small',
      `The databases take ${gigabytes(sizeBytes)}, and the site has ${gigabytes(diskFreeBytes)} free.`,
      'Choose a site with more room, or ask the provider to add space there.',
    ),
  ];
}
/** A fifth more, for the log that is written while it is copied. */
const ROOM = 1.2;

function checkPlatform(server: ServerFacts, build: SiteBuild): Finding[] {
  const theirs = / on (\S+)$/.exec(server.version)?.[1];
  const findings: Finding[] = [];
  if (theirs !== undefined && build.platform !== null && machineOf(theirs) !== machineOf(build.platform)) {
    findings.push(
      blocker(
        'site.architecture',
        `The server runs on ${theirs}, the site on ${build.platform}: the one cannot use the other's files.`,
        'Choose a site with the same processor architecture, or protect it by the archive instead (a dump).',
      ),
    );
  }
  const different = PRESETS.filter((name) => {
    const value = server.parameters[name];
    return value !== undefined && build.settings[name] !== undefined && value !== build.settings[name];
  });
  if (different.length > 0) {
    findings.push(
      blocker(
        'site.block-size',
        `The server was compiled with another ${different.map((name) => `${name} (${server.parameters[name]}, at the site ${build.settings[name]})`).join(', ')}.`,
        "Move the databases to the distribution's PostgreSQL by a dump, or protect them by the archive instead.",
      ),
    );
  }
  return findings;
}

/** Processor and system: how the toolchain's vendor is called does not matter. */
function machineOf(platform: string): string {
  const [processor = '', ...rest] = platform.toLowerCase().split('-');
  const architecture = { amd64: 'x86_64', arm64: 'aarch64' }[processor] ?? processor;
  return `${architecture} ${rest.some((part) => part.startsWith('linux')) ? 'linux' : rest.at(-1)}`;
}

function checkLibraries(server: ServerFacts, build: SiteBuild): Finding[] {
  const wanted = new Set([
    ...server.preloadLibraries,
    ...LIBRARY_SETTINGS.flatMap((name) => (server.parameters[name] ?? '').split(',')),
  ]);
  const { names, places } = libraryNames([...wanted].join(','));
  const missing = [...places, ...names.filter((name) => !build.libraries.includes(name))];
  if (missing.length === 0) return [];
  return [
    blocker(
      'site.library-missing',
      `The server loads libraries that the site does not have, or names them by a place: ${listed(missing)}. A standby would not start without them, and takes them from PostgreSQL's own folder only.`,
      'Ask the provider to install them at the site, name by the bare name what is named by a path, or remove them from shared_preload_libraries if nobody needs them.',
    ),
  ];
}

function checkExtensions(server: ServerFacts, build: SiteBuild): Finding[] {
  const findings: Finding[] = [];
  const where = ({ database, name, version }: ServerFacts['extensions'][number]) => `${name} ${version} (${database})`;
  const missing = server.extensions.filter(({ name }) => build.extensions[name] === undefined);
  if (missing.length > 0) {
    findings.push(
      blocker(
        'site.extension-missing',
        `The databases use extensions that the site does not have: ${listed(missing.map(where))}. After a failover whatever uses them would fail.`,
        'Ask the provider to install them at the site, or DROP EXTENSION what nobody needs.',
      ),
    );
  }
  const other = server.extensions.filter(({ name, version }) => build.extensions[name]?.includes(version) === false);
  if (other.length > 0) {
    findings.push(
      warning(
        'site.extension-version',
        `The site has other versions of these extensions: ${listed(other.map(where))}.`,
        'Bring both to the same version (ALTER EXTENSION … UPDATE), so that their functions work alike after a failover.',
      ),
    );
  }
  return findings;
}

async function checkTablespaces({ tablespaces }: ServerFacts, driver: SiteDriver): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, location } of tablespaces) {
    try {
      await driver.checkTablespaceDirectory(location);
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'driver.tablespace-refused') throw error;
      findings.push(
        warning(
          'site.tablespace-path',
          `Tablespace ${name} is copied, but one that is made beside it later would stop the standby. ${error.message}`,
          'Make new tablespaces where the site allows them, or ask the provider to allow the folder.',
        ),
      );
    }
  }
  return findings;
}
