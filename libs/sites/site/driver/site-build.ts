import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import {
  listPostgres,
  ownedDirectory,
  PostgresServer,
  runTool,
  type PostgresInstallation,
} from '#libs/platform/postgres';
import type { SiteBuild } from './driver.js';
import { SiteHostError, VersionUnsupportedError } from './errors.js';

const said = z.object({
  versionText: z.string(),
  settings: z.record(z.string(), z.string()),
  extensions: z.record(z.string(), z.array(z.string())),
  libraries: z.array(z.string()),
  locales: z.array(z.string()),
  collations: z.array(z.object({ provider: z.string(), version: z.string() })),
});

/** On one line: for a server in single-user mode a line break ends the statement. */
const QUESTION = `SELECT json_build_object('versionText', version(),
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

/** For so long, what a version said of itself is believed. */
const BELIEVED_MS = 60_000;

/** What this host's versions of PostgreSQL are, each asked once in a while. */
export class SiteBuilds {
  private readonly known = new Map<number, { readonly at: number; readonly build: Promise<SiteBuild> }>();

  /** @throws VersionUnsupportedError, SiteHostError */
  of(majorVersion: number): Promise<SiteBuild> {
    const known = this.known.get(majorVersion);
    if (known && performance.now() - known.at < BELIEVED_MS) return known.build;
    const asked = { at: performance.now(), build: ask(majorVersion) };
    this.known.set(majorVersion, asked);
    // A failure is not remembered; who asked is told of it.
    asked.build.catch(() => this.known.delete(majorVersion));
    return asked.build;
  }
}

async function ask(majorVersion: number): Promise<SiteBuild> {
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
async function askBuild(installation: PostgresInstallation): Promise<SiteBuild> {
  const folder = await ownedDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-build-')));
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
    const { versionText, ...build } = said.parse(JSON.parse(text));
    return { ...build, majorVersion: installation.majorVersion, platform: platformOf(versionText) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** `PostgreSQL 15.14 (Debian …) on x86_64-pc-linux-gnu, compiled by …` */
function platformOf(versionText: string): string | null {
  return / on ([^\s,]+),/.exec(versionText)?.[1] ?? null;
}
