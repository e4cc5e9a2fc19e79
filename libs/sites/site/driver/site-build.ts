import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { ifPresent } from '#libs/platform/errors';
import {
  listPostgres,
  keptDirectory,
  PostgresServer,
  runTool,
  type PostgresInstallation,
} from '#libs/platform/postgres';
import type { SiteBuild } from './driver.js';
import { SiteHostError, VersionUnsupportedError } from './errors.js';

const said = z.object({
  versionText: z.string(),
  folders: z.array(z.string()),
  settings: z.record(z.string(), z.string()),
  extensions: z.record(z.string(), z.array(z.string())),
  libraries: z.array(z.string()),
  locales: z.array(z.string()),
  collations: z.array(z.object({ provider: z.string(), version: z.string() })),
});

/** On one line: for a server in single-user mode a line break ends the statement. */
const QUESTION = `SELECT json_build_object('versionText', version(),
  'folders', (SELECT json_agg(setting || CASE name WHEN 'SHAREDIR' THEN '/extension' ELSE '' END) FROM pg_config
    WHERE name IN ('SHAREDIR', 'PKGLIBDIR')),
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings
    WHERE name IN ('block_size', 'wal_block_size', 'segment_size')),
  'extensions', (SELECT json_object_agg(name, versions) FROM (SELECT name, json_agg(version) AS versions
    FROM pg_available_extension_versions GROUP BY name) AS e),
  'libraries', (SELECT json_agg(regexp_replace(file, '[.](so|dylib)$', '')) FROM pg_config AS c, pg_ls_dir(c.setting) AS file
    WHERE c.name = 'PKGLIBDIR' AND file ~ '[.](so|dylib)$'),
  'locales', (SELECT json_agg(DISTINCT collcollate) FROM pg_collation WHERE collprovider = 'c' AND collcollate IS NOT NULL),
  'collations', coalesce((SELECT json_agg(json_build_object('provider', provider, 'version', version)) FROM (
    SELECT 'libc' AS provider, max(pg_collation_actual_version(oid)) AS version FROM pg_collation WHERE collprovider = 'c'
    UNION SELECT 'icu', max(pg_collation_actual_version(oid)) FROM pg_collation WHERE collname = 'und-x-icu') AS c
    WHERE version IS NOT NULL), '[]'))`.replaceAll(/\s*\n\s*/g, ' ');

const ANSWER = / = "(\{.*\})"\t\(typeid/s;

/** At the latest after so long it is asked again, whatever its folders say. */
const BELIEVED_MS = 3_600_000;
/** Where the operating system keeps its locales. */
const LOCALES = '/usr/lib/locale';

interface Asked {
  readonly build: SiteBuild;
  /** What is installed changes them: extensions, libraries, locales. */
  readonly folders: readonly string[];
}

interface Known extends Asked {
  readonly at: number;
  readonly changed: string;
}

/** What this host's versions of PostgreSQL are, each asked again when something was installed. */
export class SiteBuilds {
  private readonly known = new Map<number, Promise<Known>>();

  /** @throws VersionUnsupportedError, SiteHostError */
  async of(majorVersion: number): Promise<SiteBuild> {
    // Whoever asked then was told why it failed; now it is asked again.
    const known = await this.known.get(majorVersion)?.catch(() => undefined);
    if (known && performance.now() - known.at < BELIEVED_MS && (await changes(known.folders)) === known.changed) {
      return known.build;
    }
    const asking = this.ask(majorVersion);
    this.known.set(majorVersion, asking);
    return (await asking).build;
  }

  private async ask(majorVersion: number): Promise<Known> {
    const at = performance.now();
    const asked = await ask(majorVersion);
    return { ...asked, at, changed: await changes(asked.folders) };
  }
}

async function changes(folders: readonly string[]): Promise<string> {
  const times = folders.map(async (folder) => (await ifPresent(stat(folder)))?.mtimeMs ?? 0);
  return (await Promise.all(times)).join(' ');
}

async function ask(majorVersion: number): Promise<Asked> {
  const installed = await listPostgres();
  const installation = installed.find((each) => each.majorVersion === majorVersion);
  const majors = installed.map((each) => each.majorVersion);
  if (!installation) throw new VersionUnsupportedError(majorVersion, majors);
  return askBuild(installation);
}

/**
 * What this host's PostgreSQL of one version is and can load. The program itself is asked, in single-user mode on an
 * empty cluster that is thrown away: nothing else knows which collation versions and libraries it sees. Half a second.
 *
 * @throws SiteHostError when it cannot be made to answer
 */
async function askBuild(installation: PostgresInstallation): Promise<Asked> {
  const folder = await keptDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-build-')));
  try {
    const server = await PostgresServer.at(installation, path.join(folder, 'data'));
    await server.initialise({ noSync: true });
    const { stdout } = await runTool(
      path.join(installation.binDirectory, 'postgres'),
      ['--single', '-D', server.directory, 'postgres'],
      { identity: server.identity, timeoutMs: 20_000, input: `${QUESTION}\n` },
    );
    const [, text] = ANSWER.exec(stdout) ?? [];
    if (text === undefined)
      throw new SiteHostError("The site's PostgreSQL does not say what it is.", { detail: stdout });
    const { versionText, folders, ...build } = said.parse(JSON.parse(text));
    const { majorVersion } = installation;
    return { build: { ...build, majorVersion, platform: platformOf(versionText) }, folders: [...folders, LOCALES] };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** `PostgreSQL 15.14 (Debian …) on x86_64-pc-linux-gnu, compiled by …` */
function platformOf(versionText: string): string | null {
  return / on ([^\s,]+),/.exec(versionText)?.[1] ?? null;
}
