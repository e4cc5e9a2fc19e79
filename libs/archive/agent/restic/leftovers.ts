import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { waitFor } from '#libs/platform/clock';
import { processTitle, signalProcess } from '#libs/platform/postgres';
import { z } from 'zod';

const PID_FILE = 'restic.pid';
const INTERRUPTED_MS = 3_000;
const END_MS = 10_000;
const noted = z.object({ pid: z.number().int(), started: z.string().nullable(), boot: z.string().nullish() });
type Noted = z.infer<typeof noted>;

/** Which process works in a directory: its number, and on Linux when it was started, since numbers are used again. */
export function notePid(directory: string, pid: number): void {
  let started: string | null = null;
  try {
    started = startOf(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    // It ended at once, or the system has no /proc: then the process's title tells.
  }
  const boot = bootId();
  writeFileSync(path.join(directory, PID_FILE), JSON.stringify({ pid, started, boot }), { mode: 0o600 });
}

/**
 * Ends what a dead agent left running in a work's directory: restic with SIGINT, so that its lock goes, then all of its
 * group; and on Linux whatever else works there. Returns when they are gone from the list of processes too, since restic
 * takes the lock of a process that is in it for one in use.
 */
export async function endLeftovers(directory: string): Promise<number> {
  const text = await readFile(path.join(directory, PID_FILE), 'utf8').catch(() => '');
  const found = noted.safeParse(text === '' ? undefined : JSON.parse(text));
  const pids = new Set(await processesIn(directory));
  if (found.success && (await isSame(found.data, directory))) pids.add(found.data.pid);
  const gone = () => ![...pids].some((pid) => signalProcess(pid, 0));
  const within = (timeoutMs: number) => waitFor('restic to end', gone, { timeoutMs }).catch(() => undefined);
  // The kernel may have interrupted it already, and a second time would end it before it has taken its lock back.
  if (pids.size > 0) await within(INTERRUPTED_MS);
  for (const pid of pids) signalProcess(pid, 'SIGINT');
  await within(END_MS);
  for (const pid of pids) signalProcess(pid, 'SIGKILL');
  await within(END_MS);
  if (found.success && isOrphaned(found.data)) signalGroup(found.data.pid, 'SIGKILL');
  return pids.size;
}

/**
 * A dump that restic had started may outlive it, wherever it works. Its group bears the number of a process that is gone,
 * and while it lasts the system gives that number to nobody else; after a reboot it would mean nothing.
 */
function isOrphaned({ pid, boot }: Noted): boolean {
  return typeof boot === 'string' && boot === bootId() && !signalProcess(pid, 0);
}

/** Of this start of the system; null where it has none (Linux has). */
function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    // Then nothing is concluded from a number.
    return null;
  }
}

/** All processes of a group; those that are gone already are no fault. */
export function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function isSame({ pid, started }: Noted, directory: string): Promise<boolean> {
  if (!signalProcess(pid, 0)) return false;
  if (started === null) return (await processTitle(pid)).includes(directory);
  const now = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return startOf(now) === started;
}

/** Column 22 of /proc/PID/stat, in clock ticks since the boot (proc(5)); the second column may hold spaces. */
function startOf(stat: string): string {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

/** restic and what it started have the work's directory as theirs. */
async function processesIn(directory: string): Promise<number[]> {
  if (platform() !== 'linux') return [];
  const real = await realpath(directory).catch(() => directory);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
      return cwd === real ? pid : undefined;
    }),
  );
  return found.filter((pid) => pid !== undefined);
}
