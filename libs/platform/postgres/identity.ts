import { lchown, mkdir, readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { PostgresHostError } from './errors.js';
import { OpenDirectory, type FileOwner } from './open-directory.js';

/** The operating system's user as whom PostgreSQL's programs run. */
export interface ServerIdentity {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
  readonly home: string;
  /** False when this process already is that user: then nothing is chowned and no user is switched. */
  readonly switched: boolean;
}

let known: Promise<ServerIdentity> | undefined;

/**
 * As whom to run PostgreSQL: this process's own user, or, for root, which PostgreSQL refuses, the user `postgres` that
 * the distribution's package makes.
 *
 * @throws PostgresHostError when root and there is no such user.
 */
export function serverIdentity(): Promise<ServerIdentity> {
  known ??= lookUp();
  // A failure is looked up anew: the package may be installed in the meantime.
  known.catch(() => (known = undefined));
  return known;
}

async function lookUp(): Promise<ServerIdentity> {
  const self = userInfo();
  if (process.getuid?.() !== 0) {
    return { uid: self.uid, gid: self.gid, name: self.username, home: self.homedir, switched: false };
  }
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n');
  for (const line of lines) {
    const [name, , uid, gid, , home] = line.split(':');
    if (name === 'postgres') return { uid: Number(uid), gid: Number(gid), name, home: home || '/', switched: true };
  }
  throw new PostgresHostError(
    'PostgreSQL does not run as root, and this machine has no user "postgres". Run as another user, or make it: ' +
      'useradd --system --create-home --home-dir /var/lib/postgresql postgres',
  );
}

/**
 * A user that exists as a number only: PostgreSQL's server and pg_controldata need no name for it. (initdb and
 * `postgres --single` do: run these as {@link serverIdentity}.)
 */
export function numberedIdentity(uid: number): ServerIdentity {
  return { uid, gid: uid, name: String(uid), home: '/', switched: true };
}

/**
 * Makes a directory (and its parents) that only PostgreSQL's user may enter: mode 0700, owner {@link serverIdentity}.
 * Parents that it makes stay passable for that user. Safe to repeat. A symbolic link in its place is refused.
 */
export async function ownedDirectory(directory: string, identity?: ServerIdentity): Promise<string> {
  const owner = identity ?? (await serverIdentity());
  return makeDirectory(directory, owner, 0o700);
}

/**
 * Makes a directory in which only this process changes names, so that what lies in it can be trusted to be what was put
 * there; `passers` (everybody when left out) may pass through to what is theirs. Safe to repeat.
 */
export async function keptDirectory(directory: string, passers?: ServerIdentity): Promise<string> {
  const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, switched: process.getuid?.() === 0 };
  return passers
    ? makeDirectory(directory, { ...self, gid: passers.gid }, 0o710)
    : makeDirectory(directory, self, 0o711);
}

async function makeDirectory(directory: string, owner: FileOwner, mode: number): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o711 });
  const made = await OpenDirectory.at(directory);
  await made.own(owner, mode).finally(() => made.close());
  return directory;
}

/** Gives a file or directory to PostgreSQL's user; nothing to do when this process is that user. A link is not followed. */
export async function chownTo(file: string, identity: ServerIdentity): Promise<void> {
  if (identity.switched) await lchown(file, identity.uid, identity.gid);
}
