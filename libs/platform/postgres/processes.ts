import { readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { errorCode } from '../errors/index.js';
import { PostgresToolError } from './errors.js';
import { runTool } from './tool.js';

/** One process of the operating system. */
export interface SystemProcess {
  readonly pid: number;
  readonly parentPid: number;
  /** As ps shows it; PostgreSQL writes the kind of process into it (`postgres: walreceiver streaming 0/3000148`). */
  readonly title: string;
  /** `T`: stopped by SIGSTOP. `Z`: dead, but not yet collected by its parent. */
  readonly state: string;
}

/** True while the process exists and runs; a dead one that its parent has not collected yet does not count. */
export async function isAlive(pid: number): Promise<boolean> {
  if (!signalProcess(pid, 0)) return false;
  if (platform() !== 'linux') return true;
  const status = await linuxProcess(pid);
  return status !== undefined && status.state !== 'Z' && status.state !== 'X';
}

/** Sends a signal; false when there is no such process. */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  if (!Number.isInteger(pid) || pid <= 1) return false;
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    if ((error as NodeJS.ErrnoException).code === 'EPERM' && signal === 0) return true;
    throw error;
  }
}

/** The processes that `parentPid` started itself; of a postmaster: its backends and workers. */
export async function childProcesses(parentPid: number): Promise<SystemProcess[]> {
  const all =
    (await listedChildren(parentPid)) ?? (platform() === 'linux' ? await linuxProcesses() : await psProcesses());
  return all.filter((each) => each.parentPid === parentPid && each.state !== 'Z');
}

/** Most kernels list a process's children, which is far cheaper than reading all processes; undefined where not. */
async function listedChildren(parentPid: number): Promise<SystemProcess[] | undefined> {
  const text = await unlessEnded(readFile(`/proc/${parentPid}/task/${parentPid}/children`, 'utf8'));
  if (text === undefined) return undefined;
  const pids = text
    .trim()
    .split(' ')
    .filter((pid) => pid !== '');
  const children = await Promise.all(pids.map((pid) => linuxProcess(Number(pid))));
  return children.filter((child) => child !== undefined);
}

/** The working directory and program of a process, where the system tells (Linux); undefined otherwise. */
export async function processOrigin(pid: number): Promise<{ directory: string; program: string } | undefined> {
  const links = Promise.all([readlink(`/proc/${pid}/cwd`), readlink(`/proc/${pid}/exe`)]);
  const [directory, program] = (await unlessEnded(links, SOMEBODY_ELSES)) ?? [];
  if (directory === undefined || program === undefined) return undefined;
  // The program's file may have been replaced by an update while the server runs.
  return { directory, program: path.basename(program.replace(/ \(deleted\)$/, '')) };
}

/** What ps shows of one process, for systems without /proc; empty when there is none. */
export async function processTitle(pid: number): Promise<string> {
  try {
    return (await runTool('/bin/ps', ['-o', 'command=', '-p', String(pid)])).stdout.trim();
  } catch (error) {
    // So it ends where there is no such process.
    if (error instanceof PostgresToolError && error.exitCode === 1) return '';
    throw error;
  }
}

/**
 * The processes of PostgreSQL that work in a data directory, its postmaster and those left behind by a dead one. Linux
 * only; elsewhere none is found.
 */
export async function postgresProcessesIn(directory: string): Promise<number[]> {
  if (platform() !== 'linux') return [];
  const real = await realpath(directory);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const origin = await processOrigin(pid);
      return origin?.directory === real && origin.program === 'postgres' ? pid : undefined;
    }),
  );
  return found.filter((pid) => pid !== undefined);
}

/** What runs as a user, by its real or effective number; dead ones left out. Linux only; elsewhere none is found. */
export async function processesOfUser(uid: number): Promise<number[]> {
  return (await usersOfProcesses()).flatMap(([pid, ids]) => (ids.includes(uid) ? [pid] : []));
}

/** The users that something runs as: for a look at many of them, since each look reads all processes. As above. */
export async function usersThatRun(): Promise<Set<number>> {
  return new Set((await usersOfProcesses()).flatMap(([, ids]) => ids));
}

async function usersOfProcesses(): Promise<[pid: number, ids: number[]][]> {
  if (platform() !== 'linux') return [];
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  return Promise.all(
    pids.map(async (pid): Promise<[number, number[]]> => {
      const status = (await unlessEnded(readFile(`/proc/${pid}/status`, 'utf8'))) ?? '';
      if (/^State:\s+[ZX]/m.test(status)) return [pid, []];
      return [pid, /^Uid:\s+([\d\s]+)$/m.exec(status)?.[1]?.trim().split(/\s+/).map(Number) ?? []];
    }),
  );
}

async function linuxProcesses(): Promise<SystemProcess[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const all = await Promise.all(pids.map(linuxProcess));
  return all.filter((each) => each !== undefined);
}

async function linuxProcess(pid: number): Promise<SystemProcess | undefined> {
  const files = Promise.all([readFile(`/proc/${pid}/stat`, 'utf8'), readFile(`/proc/${pid}/cmdline`, 'utf8')]);
  const [stat, commandLine] = (await unlessEnded(files)) ?? [];
  if (stat === undefined || commandLine === undefined) return undefined;
  // The second column is the program's name in brackets and may itself hold spaces and brackets.
  const [state = '', parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { pid, parentPid: Number(parent), state, title: commandLine.replaceAll('\0', ' ').trim() };
}

/** No such entry; the process ended between the opening and the reading. */
const ENDED = ['ENOENT', 'ESRCH'];
/** The system says where a process works only to its own user. */
const SOMEBODY_ELSES = ['EACCES', 'EPERM'];

/**
 * What /proc says of a process; undefined when there is none, or no such entry. Any other failure (no free descriptor)
 * is thrown: a server that runs must not be taken for dead.
 */
async function unlessEnded<T>(look: Promise<T>, alsoAbsent: readonly string[] = []): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    const code = errorCode(error) ?? '';
    if (ENDED.includes(code) || alsoAbsent.includes(code)) return undefined;
    throw error;
  }
}

async function psProcesses(): Promise<SystemProcess[]> {
  const { stdout } = await runTool('/bin/ps', ['-axo', 'pid=,ppid=,state=,command=']);
  return stdout.split('\n').flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line);
    if (!match) return [];
    return [{ pid: Number(match[1]), parentPid: Number(match[2]), state: match[3] ?? '', title: match[4] ?? '' }];
  });
}
