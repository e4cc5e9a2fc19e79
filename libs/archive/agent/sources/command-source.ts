import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import { childEnvironment } from '#libs/platform/config';
import type { CommandWorkload } from '#libs/sites/agent';
import { ArchiveWorkError } from '../errors.js';
import type { SourcePart } from './source-part.js';

const run = promisify(execFile);
const SETPRIV = '/usr/bin/setpriv';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The agency's program as restic will run it: in `/`, as the user that agent.json names, and with nothing of the agent's
 * or restic's environment.
 *
 * @throws ArchiveWorkError when it cannot be run as that user
 */
export async function commandPart({ command, fileName, user }: CommandWorkload): Promise<SourcePart> {
  const identity = user === undefined ? undefined : await userOf(user);
  const home = identity?.home ?? '/';
  const clean = ['/usr/bin/env', '-i', `PATH=${PATH}`, `HOME=${home}`, 'LC_ALL=C', ...command];
  const inRoot = ['/bin/sh', '-c', 'cd / && exec "$@"', 'sh', ...clean];
  const as = identity === undefined || identity.uid === process.getuid?.() ? [] : await becoming(identity);
  return { part: fileName, fileName, command: [...as, ...inRoot] };
}

interface Identity {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

async function userOf(name: string): Promise<Identity> {
  const env = childEnvironment({ LC_ALL: 'C' });
  const ask = async (option: string) => Number((await run('/usr/bin/id', [option, '--', name], { env })).stdout.trim());
  const home = async () => (await run('/usr/bin/getent', ['passwd', name], { env })).stdout.split(':')[5];
  try {
    return { name, uid: await ask('-u'), gid: await ask('-g'), home: (await home().catch(() => undefined)) ?? '/' };
  } catch (cause) {
    throw new ArchiveWorkError('no-such-user', `This machine has no user "${name}", which agent.json names.`, {
      cause,
    });
  }
}

async function becoming({ name, uid, gid }: Identity): Promise<string[]> {
  const able = await access(SETPRIV, constants.X_OK).then(
    () => process.getuid?.() === 0,
    () => false,
  );
  if (able) return [SETPRIV, `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--'];
  throw new ArchiveWorkError(
    'cannot-switch-user',
    `The agent cannot run a program as "${name}": it must run as root, with ${SETPRIV} (util-linux) installed.`,
  );
}
