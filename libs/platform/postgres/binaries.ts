import { access, constants, readdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { searchPath as pathOfProcess } from '../config/index.js';
import { PostgresNotFoundError } from './errors.js';
import { runTool } from './tool.js';

/** Where one version of PostgreSQL's programs lies. */
export interface PostgresInstallation {
  /** The directory of `postgres`, `initdb`, `pg_basebackup` and the others. */
  readonly binDirectory: string;
  /** 15 for 15.14. */
  readonly majorVersion: number;
  /** As the server says it: `15.14`, `18beta1`. */
  readonly version: string;
}

export interface FindPostgresOptions {
  /** Only this major version; otherwise the first on the search path, then the newest installed. */
  readonly version?: number;
  /** Directories to look in first; those of PATH when left out. */
  readonly searchPath?: readonly string[];
}

/** Directories in which distributions put one sub-directory per version; `bin` is where the programs are in it. */
const DISTRIBUTIONS: readonly { readonly parent: string; readonly name: RegExp }[] = [
  { parent: '/usr/lib/postgresql', name: /^\d+$/ },
  { parent: '/usr', name: /^pgsql-\d+$/ },
  { parent: '/opt/homebrew/opt', name: /^postgresql(@\d+)?$/ },
  { parent: '/usr/local/opt', name: /^postgresql(@\d+)?$/ },
  { parent: '/home/linuxbrew/.linuxbrew/opt', name: /^postgresql(@\d+)?$/ },
  { parent: '/Applications/Postgres.app/Contents/Versions', name: /^\d+$/ },
];

/**
 * Finds PostgreSQL's server programs: PATH first, then the directories of Debian, RPM packages and Homebrew, newest
 * first.
 *
 * @throws PostgresNotFoundError naming the line that installs them.
 */
export async function findPostgres(options: FindPostgresOptions = {}): Promise<PostgresInstallation> {
  const found = await listPostgres(options.searchPath);
  const match = options.version === undefined ? found[0] : found.find((each) => each.majorVersion === options.version);
  if (match) return match;
  const wanted = options.version === undefined ? 'PostgreSQL' : `PostgreSQL ${options.version}`;
  const name = options.version === undefined ? 'postgresql' : `postgresql-${options.version}`;
  throw new PostgresNotFoundError(
    `${wanted} is not installed on this machine. Install it: apt-get install -y ${name} (Debian, Ubuntu) or ` +
      `brew install ${name.replace(/-(\d+)$/, '@$1')} (macOS).`,
    { detail: `found: ${found.map((each) => `${each.version} in ${each.binDirectory}`).join(', ') || 'none'}` },
  );
}

/** All installations of the machine, in the order in which {@link findPostgres} prefers them. */
export async function listPostgres(searchPath: readonly string[] = pathOfProcess()): Promise<PostgresInstallation[]> {
  const onPath = searchPath.filter((each) => path.isAbsolute(each));
  const installations: PostgresInstallation[] = [];
  const seen = new Set<string>();
  const add = async (
    directories: readonly string[],
    order?: (a: PostgresInstallation, b: PostgresInstallation) => number,
  ) => {
    const batch: PostgresInstallation[] = [];
    for (const directory of directories) {
      const installation = await probe(directory, seen);
      if (installation) batch.push(installation);
    }
    installations.push(...(order ? batch.sort(order) : batch));
  };
  await add(onPath);
  await add(await distributionDirectories(), (a, b) => b.majorVersion - a.majorVersion);
  return installations;
}

async function distributionDirectories(): Promise<string[]> {
  const nested = await Promise.all(
    DISTRIBUTIONS.map(async ({ parent, name }) => {
      // None there, or none that we may look into: then none that we could run. Who needs one is told which were found.
      const entries = await readdir(parent).catch(() => []);
      return entries.filter((entry) => name.test(entry)).map((entry) => path.join(parent, entry, 'bin'));
    }),
  );
  return nested.flat();
}

async function probe(directory: string, seen: Set<string>): Promise<PostgresInstallation | undefined> {
  const [server, initdb] = await Promise.all(
    ['postgres', 'initdb'].map((name) => executable(path.join(directory, name))),
  );
  if (!server || !initdb) return undefined;
  const real = path.dirname(server);
  if (seen.has(real)) return undefined;
  seen.add(real);
  const version = await versionOf(server);
  if (!version) return undefined;
  return { binDirectory: real, version, majorVersion: Number.parseInt(version, 10) };
}

const knownVersions = new Map<string, string>();

/** Asked once for each state of the file, since a failover has no time for it. */
async function versionOf(server: string): Promise<string | undefined> {
  const { mtimeMs, size } = await stat(server);
  const key = `${server} ${mtimeMs} ${size}`;
  const known = knownVersions.get(key);
  if (known) return known;
  // One that does not even say its version is none to run.
  const { stdout } = await runTool(server, ['--version'], { timeoutMs: 10_000 }).catch(() => ({ stdout: '' }));
  const version = /\(PostgreSQL\) (\d+\S*)/.exec(stdout)?.[1];
  if (version) knownVersions.set(key, version);
  return version;
}

/** The real path of a program, since Homebrew and RPM put symbolic links on PATH and the others lie beside the target. */
async function executable(file: string): Promise<string | undefined> {
  try {
    await access(file, constants.X_OK);
    return await realpath(file);
  } catch {
    // None, or none for us.
    return undefined;
  }
}
