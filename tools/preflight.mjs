// Checks what Mainstay needs of this machine before it starts, and installs with apt what is missing where it may. Runs
// under any Node since 18 and needs no packages, since it is the first thing that a newcomer's machine runs.
//
//   node tools/preflight.mjs [--with redis,python] [--check]
//
// --with: what only the tests use. --check: install nothing.
import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR = 24;
const POSTGRES_OLDEST = 13;
const POSTGRES_TOOLS = [
  'postgres',
  'initdb',
  'pg_basebackup',
  'pg_controldata',
  'pg_receivewal',
  'pg_rewind',
  'pg_waldump',
  'pgbench',
  'psql',
];
/** One directory per version in each, with `bin` in it. */
const DISTRIBUTIONS = [
  ['/usr/lib/postgresql', /^\d+$/],
  ['/usr', /^pgsql-\d+$/],
  ['/opt/homebrew/opt', /^postgresql(@\d+)?$/],
  ['/usr/local/opt', /^postgresql(@\d+)?$/],
  ['/home/linuxbrew/.linuxbrew/opt', /^postgresql(@\d+)?$/],
  ['/Applications/Postgres.app/Contents/Versions', /^\d+$/],
];
const APT_PACKAGES = { postgresql: 'postgresql', redis: 'redis-server', python: 'python3-venv' };
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const mac = process.platform === 'darwin';
const isRoot = process.getuid?.() === 0;

class Fault extends Error {}

function main(args) {
  const wanted = new Set(args.flatMap((each, index) => (args[index - 1] === '--with' ? each.split(',') : [])));
  checkSystem();
  checkNode();
  const missing = missingPackages(wanted);
  if (missing.length > 0) {
    if (args.includes('--check') || mac || !isRoot || !onPath('apt-get')) throw new Fault(installLine(missing));
    install(missing);
    const still = missingPackages(wanted);
    if (still.length > 0) throw new Fault(`apt installed the packages, and yet this is missing. ${installLine(still)}`);
  }
  checkUser();
}

function checkSystem() {
  if (process.platform !== 'linux' && !mac) {
    throw new Fault(
      `Mainstay runs on Linux and macOS, not on ${process.platform}. On Windows, use WSL 2 with Debian or Ubuntu.`,
    );
  }
}

function checkNode() {
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) return;
  if (existsSync(join(root, 'node_modules', '.bin', 'node'))) {
    throw new Fault(
      `This is Node ${process.versions.node}. Start through npm (npm start, npm test), which uses the installed Node ${NODE_MAJOR}.`,
    );
  }
  throw new Fault(`Node ${NODE_MAJOR} is missing; it comes with the other packages. Run: npm ci --include=optional`);
}

/** @returns {('postgresql' | 'redis' | 'python')[]} */
function missingPackages(wanted) {
  const missing = [];
  if (!postgresDirectories().some((directory) => POSTGRES_TOOLS.every((tool) => executable(join(directory, tool))))) {
    missing.push('postgresql');
  }
  if (wanted.has('redis') && !onPath('redis-server') && !onPath('valkey-server')) missing.push('redis');
  if (wanted.has('python') && !hasPythonEnvironments()) missing.push('python');
  return missing;
}

/** Debian keeps the module that makes environments, and what it needs, in a package of its own. */
function hasPythonEnvironments() {
  return spawnSync('python3', ['-c', 'import venv, ensurepip'], { stdio: 'ignore' }).status === 0;
}

function postgresDirectories() {
  const nested = DISTRIBUTIONS.flatMap(([parent, name]) => {
    if (!existsSync(parent)) return [];
    return (
      readdirSync(parent)
        .filter((entry) => name.test(entry))
        // Homebrew's plain `postgresql` has no number, and is new enough.
        .filter((entry) => Number(/\d+$/.exec(entry)?.[0] ?? POSTGRES_OLDEST) >= POSTGRES_OLDEST)
        .map((entry) => join(parent, entry, 'bin'))
    );
  });
  return [...searchPath(), ...nested];
}

function searchPath() {
  const own = (process.env.PATH ?? '').split(delimiter).filter((each) => each.startsWith('/'));
  return [...own, '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin'];
}

function onPath(program) {
  return searchPath().some((directory) => executable(join(directory, program)));
}

function executable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function installLine(missing) {
  const names = {
    postgresql: 'PostgreSQL with its tools',
    redis: 'Redis',
    python: 'Python with venv',
  };
  const what = missing.map((each) => names[each]).join(' and ');
  if (mac) {
    const packages = missing.map((each) => (each === 'postgresql' ? 'postgresql@17' : each));
    return `${what} missing on this machine. Run: brew install ${packages.join(' ')}`;
  }
  const packages = aptPackages(missing).join(' ');
  if (onPath('apt-get')) {
    return `${what} missing on this machine. Run: sudo apt-get update && sudo apt-get install -y ${packages}`;
  }
  if (onPath('dnf')) {
    const rpms = missing.flatMap((each) =>
      each === 'postgresql' ? ['postgresql-server', 'postgresql-contrib'] : [each],
    );
    return `${what} missing on this machine. Run: sudo dnf install -y ${rpms.join(' ')}`;
  }
  return `${what} missing on this machine. Install with your system's package manager: ${POSTGRES_TOOLS.join(', ')}.`;
}

function aptPackages(missing) {
  return missing.map((each) => APT_PACKAGES[each]);
}

function install(missing) {
  const packages = aptPackages(missing);
  console.log(`Mainstay: installing ${packages.join(' and ')} with apt, which this machine lacks.`);
  const undo = [keepServicesFromStarting()];
  if (missing.includes('postgresql')) keepClusterFromBeingMade();
  try {
    apt(['update']);
    apt(['install', '-y', '--no-install-recommends', ...packages]);
  } finally {
    for (const each of undo) each();
  }
}

function apt(args) {
  const result = spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', ...args], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' },
    maxBuffer: 64 * 1024 * 1024,
  });
  if (result.status === 0) return;
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`
    .trim()
    .split('\n')
    .slice(-12);
  throw new Fault(`apt-get ${args.join(' ')} failed:\n  ${said.join('\n  ')}`);
}

/** Debian starts what it installs, on the usual ports; Mainstay runs servers of its own. Answers how to undo it. */
function keepServicesFromStarting() {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return () => undefined;
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return () => rmSync(policy, { force: true });
}

/** Only where PostgreSQL was never installed: a machine that has it may rely on how its clusters are made. */
function keepClusterFromBeingMade() {
  if (existsSync('/etc/postgresql-common')) return;
  mkdirSync('/etc/postgresql-common/createcluster.d', { recursive: true });
  writeFileSync('/etc/postgresql-common/createcluster.d/mainstay.conf', 'create_main_cluster = false\n');
}

function checkUser() {
  if (!isRoot || /^postgres:/m.test(readFileSync('/etc/passwd', 'utf8'))) return;
  throw new Fault(
    'PostgreSQL does not run as root, and this machine has no user "postgres". Run: ' +
      'useradd --system --create-home --home-dir /var/lib/postgresql postgres',
  );
}

try {
  main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Fault)) throw error;
  console.error(`Mainstay: ${error.message}`);
  process.exitCode = 1;
}
