import { realpath, rm } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { ifPresent } from '../errors/index.js';
import { readPlainIfPresent } from './open-directory.js';
import { isAlive, processOrigin, processTitle, signalProcess } from './processes.js';

/** What a running server writes into postmaster.pid. */
export interface PostmasterFile {
  readonly pid: number;
  readonly dataDirectory: string;
  readonly port: number;
  readonly socketDirectory: string;
  /** `starting`, `stopping`, `ready` or `standby` (accepts read-only connections). */
  readonly status: string;
}

/** Reads postmaster.pid; undefined when there is none or it is half written. */
export async function readPostmasterFile(directory: string): Promise<PostmasterFile | undefined> {
  const text = (await readPlainIfPresent(path.join(directory, 'postmaster.pid')))?.toString('utf8');
  if (text === undefined) return undefined;
  const [pid, dataDirectory = '', , port, socketDirectory = '', , , status = ''] = text.split('\n');
  if (!pid || !Number.isInteger(Number(pid))) return undefined;
  // A standalone backend writes its pid negated: it serves nobody, and is no server of ours.
  if (Number(pid) <= 1) return undefined;
  return {
    pid: Number(pid),
    dataDirectory,
    port: Number(port ?? 0),
    socketDirectory,
    status: status.trim(),
  };
}

/**
 * The server that runs on this data directory, and undefined when none does. A pid that another program took over after
 * a crash or a reboot is told from the server by what it is and where it works, so nothing foreign is ever signalled.
 */
export async function runningPostmaster(directory: string): Promise<PostmasterFile | undefined> {
  const file = await readPostmasterFile(directory);
  if (!file || !(await isAlive(file.pid))) return undefined;
  return (await isPostmasterOf(file.pid, directory)) ? file : undefined;
}

/**
 * Removes lock files that would keep the next server from starting although none runs: postmaster.pid and the Unix
 * socket's, when a crash left them empty or their pid now belongs to something else (after a reboot often another cluster
 * of the same user). Stale files of dead servers stay: PostgreSQL reads them to find leftover shared memory.
 */
export async function clearForeignLocks(directory: string, socketDirectory: string, port: number): Promise<void> {
  const socket = path.join(socketDirectory, `.s.PGSQL.${port}`);
  if (await isForeignLock(path.join(directory, 'postmaster.pid'), directory)) {
    await rm(path.join(directory, 'postmaster.pid'), { force: true });
  }
  if (await isForeignLock(`${socket}.lock`)) {
    await rm(`${socket}.lock`, { force: true });
    await rm(socket, { force: true });
  }
}

/** A dead process that nobody collected (a container whose first process does not) is alive to PostgreSQL. */
async function isForeignLock(file: string, directory?: string): Promise<boolean> {
  const text = (await readPlainIfPresent(file))?.toString('utf8');
  if (text === undefined) return false;
  const pid = Math.abs(Number.parseInt(text, 10));
  if (Number.isNaN(pid)) return true;
  // The socket's lock file names its data directory in the second line.
  return signalProcess(pid, 0) && !(await isPostmasterOf(pid, directory ?? text.split('\n')[1] ?? ''));
}

async function isPostmasterOf(pid: number, directory: string): Promise<boolean> {
  if (platform() === 'linux') {
    const origin = await processOrigin(pid);
    // The postmaster changes into its data directory when it starts.
    return (
      origin !== undefined &&
      origin.program === 'postgres' &&
      origin.directory === ((await ifPresent(realpath(directory))) ?? directory)
    );
  }
  const title = await processTitle(pid);
  return /(^|\/)postgres\s/.test(title) && title.includes(directory);
}
