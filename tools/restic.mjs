// Brings restic, where this machine has none that is new enough: with apt where its release has one, else out of the
// distribution's newer release, fetched and checked by apt with the machine's own keys and unpacked below node_modules,
// so that nothing of the system is changed and `npm ci` clears it away. npm's scripts have it on their PATH.
//
//   node tools/restic.mjs [--check]
//
// --check: install nothing.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Since then dumps that fail leave no snapshot, and restores go in place (restic's CHANGELOG, 0.17.0). */
const OLDEST_MINOR = 17;
/** The oldest release of each distribution that has it. */
const RELEASES = { debian: 'trixie', ubuntu: 'resolute' };
const BY_HAND = 'Put restic 0.17 or newer on the PATH: https://restic.readthedocs.io/en/stable/020_installation.html';
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const home = join(root, 'node_modules', '.cache', 'restic');
const link = join(root, 'node_modules', '.bin', 'restic');

class Fault extends Error {}

const run = (program, words, options = {}) =>
  spawnSync(program, words, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, ...options });

const isNew = (version) => {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(major) > 0 || Number(minor) >= OLDEST_MINOR;
};

function isThere() {
  const path = `${dirname(link)}:${process.env.PATH ?? ''}`;
  const { stdout } = run('restic', ['version'], { env: { ...process.env, PATH: path } });
  return isNew(/^restic (\S+)/.exec(stdout ?? '')?.[1] ?? '');
}

function need(result, what) {
  if (result.status === 0) return result.stdout ?? '';
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`
    .trim()
    .split('\n')
    .slice(-8);
  throw new Fault(`${what} failed:\n  ${said.join('\n  ')}\n${BY_HAND}`);
}

function osRelease() {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  const field = (name) => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(text)?.[1] ?? '';
  return { id: field('ID'), codename: field('VERSION_CODENAME') };
}

/** The machine's own sources of its release, as they would be for another one: same servers, same keys. */
function sourcesOf(codename, release) {
  const folder = '/etc/apt/sources.list.d';
  const files = [
    '/etc/apt/sources.list',
    ...(existsSync(folder) ? readdirSync(folder).map((each) => join(folder, each)) : []),
  ];
  const lists = [];
  const stanzas = [];
  for (const file of files.filter((each) => existsSync(each))) {
    const text = readFileSync(file, 'utf8');
    if (file.endsWith('.sources')) {
      for (const stanza of text.split(/\n\s*\n/)) {
        const suites = /^Suites:(.*)$/m.exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
        if (suites.includes(codename)) stanzas.push(stanza.replace(/^Suites:.*$/m, `Suites: ${release}`));
      }
    } else {
      for (const line of text.split('\n')) {
        const [, before, after] =
          new RegExp(`^(deb\\s+(?:\\[[^\\]]*\\]\\s+)?\\S+\\s+)${codename}(\\s.*)$`).exec(line) ?? [];
        if (before) lists.push(`${before}${release}${after}`);
      }
    }
  }
  return { lists, stanzas };
}

/** Apt with folders of its own: it needs no rights, and leaves the system's lists alone. */
function fetchFrom({ id, codename }) {
  const release = RELEASES[id];
  const { lists, stanzas } = release ? sourcesOf(codename, release) : { lists: [], stanzas: [] };
  if (lists.length + stanzas.length === 0) return false;
  console.log(
    `Mainstay: fetching restic of ${release}, since this machine's is older than 0.${OLDEST_MINOR}; the system stays as it is.`,
  );
  rmSync(home, { recursive: true, force: true });
  for (const each of ['parts', 'lists/partial', 'cache/archives/partial'])
    mkdirSync(join(home, each), { recursive: true });
  writeFileSync(join(home, 'parts', 'release.list'), `${lists.join('\n')}\n`);
  writeFileSync(join(home, 'parts', 'release.sources'), `${stanzas.join('\n\n')}\n`);
  const apart = {
    'Dir::Etc::SourceList': '/dev/null',
    'Dir::Etc::SourceParts': join(home, 'parts'),
    'Dir::State::Lists': join(home, 'lists'),
    'Dir::Cache': join(home, 'cache'),
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
  };
  const options = Object.entries(apart).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  need(run('apt-get', ['-qq', ...options, 'update']), `reading the packages of ${release}`);
  need(run('apt-get', ['-qq', ...options, 'download', 'restic'], { cwd: home }), `fetching restic of ${release}`);
  const file = readdirSync(home).find((name) => name.endsWith('.deb'));
  need(run('dpkg-deb', ['--extract', join(home, file ?? ''), join(home, 'package')]), 'unpacking restic');
  for (const each of ['lists', 'cache', 'parts']) rmSync(join(home, each), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(join('..', '.cache', 'restic', 'package', 'usr', 'bin', 'restic'), link);
  return true;
}

function installByApt() {
  const policy = run('apt-cache', ['policy', 'restic']).stdout ?? '';
  if (process.getuid?.() !== 0 || !isNew(/Candidate: (\S+)/.exec(policy)?.[1] ?? '')) return false;
  console.log('Mainstay: installing restic with apt, which this machine lacks.');
  const quiet = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' } };
  need(run('apt-get', ['-qq', 'install', '-y', '--no-install-recommends', 'restic'], quiet), 'installing restic');
  return true;
}

try {
  if (!isThere()) {
    if (process.argv.includes('--check')) throw new Fault(`restic 0.${OLDEST_MINOR} or newer is missing. ${BY_HAND}`);
    const brought = process.platform === 'linux' && (installByApt() || fetchFrom(osRelease()));
    if (!brought || !isThere()) throw new Fault(`restic 0.${OLDEST_MINOR} or newer is missing. ${BY_HAND}`);
  }
} catch (error) {
  if (!(error instanceof Fault)) throw error;
  console.error(`Mainstay: ${error.message}`);
  process.exitCode = 1;
}
