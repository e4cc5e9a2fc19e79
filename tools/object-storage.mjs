// Brings the S3 server that the tests of object storage run against: moto, from Python's package index, in an environment
// of its own below node_modules, so that `npm ci` clears it away. Does nothing when it is there.
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSION = '5.2.5';
const home = join(dirname(dirname(fileURLToPath(import.meta.url))), 'node_modules', '.cache', 'object-storage');

function run(program, words) {
  const result = spawnSync(program, words, { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  if (result.status === 0) return;
  const said = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`
    .trim()
    .split('\n')
    .slice(-12);
  rmSync(home, { recursive: true, force: true });
  console.error(`Mainstay: ${program} ${words.join(' ')} failed:\n  ${said.join('\n  ')}`);
  console.error(
    'The tests of object storage need Python 3 with venv (apt-get install -y python3-venv) and its package index.',
  );
  process.exit(1);
}

if (!existsSync(join(home, 'ready'))) {
  rmSync(home, { recursive: true, force: true });
  run('python3', ['-m', 'venv', home]);
  run(join(home, 'bin', 'pip'), ['install', '--quiet', '--disable-pip-version-check', `moto[server]==${VERSION}`]);
  run('touch', [join(home, 'ready')]);
}
