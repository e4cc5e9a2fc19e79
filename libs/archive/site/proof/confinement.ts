import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type ServerIdentity, toolEnvironment } from '#libs/platform/postgres';

const run = promisify(execFile);
/** PostgreSQL's own are some twenty: its ten connections, what it keeps running beside them, and workers. */
const PROCESSES = 64;
const NICE = 10;
const PROBE_MS = 10_000;

/** What a dump's code is kept from, beside what its user may not do. */
export interface Confinement {
  /** The words before the server's own; they become the user themselves. Null: it is started as it is. */
  readonly launcher: ((identity: ServerIdentity) => readonly string[]) | null;
  /** What this host does not let us do, for people. */
  readonly missing: readonly string[];
}

let probed: Promise<Confinement> | undefined;

/**
 * What is possible on this host, found out once: no network but its own loopback (the server is reached by a Unix socket),
 * so many processes, the processor after everybody else, and no program that would give it another user's rights.
 */
export function confinement(): Promise<Confinement> {
  return (probed ??= probe());
}

async function probe(): Promise<Confinement> {
  const nice = ['nice', '-n', String(NICE), '--'];
  // The limit counts all of a user's processes, and a site that is not root has one user for all of them.
  if (process.getuid?.() !== 0) {
    return { launcher: null, missing: ['a user, and with it a network and a number of processes, of its own'] };
  }
  const become = ({ uid, gid }: Pick<ServerIdentity, 'uid' | 'gid'>) => [
    ...['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs', '--'],
  ];
  if (!(await works(become({ uid: 65_534, gid: 65_534 })))) {
    return { launcher: null, missing: ['a network, a number of processes and a rank of its own (setpriv)'] };
  }
  const wanted = [
    { words: ['unshare', '--net', '--'], what: 'a network of its own (unshare --net)' },
    { words: ['prlimit', `--nproc=${PROCESSES}:${PROCESSES}`, '--'], what: 'a number of processes (prlimit)' },
    { words: nice, what: 'a rank after others (nice)' },
  ];
  const possible = await Promise.all(wanted.map(({ words }) => works(words)));
  const before = wanted.filter((_, at) => possible[at]).flatMap(({ words }) => words);
  const missing = wanted.filter((_, at) => !possible[at]).map(({ what }) => what);
  return { launcher: (identity) => [...before, ...become(identity)], missing };
}

async function works([program = '', ...words]: readonly string[]): Promise<boolean> {
  try {
    await run(program, [...words, 'true'], { env: toolEnvironment(), timeout: PROBE_MS });
    return true;
  } catch {
    // Not installed, or not allowed here: whichever, it is told as missing.
    return false;
  }
}
