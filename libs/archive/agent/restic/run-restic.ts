import { spawn, type ChildProcess } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { childEnvironment } from '#libs/platform/config';
import { signalProcess } from '#libs/platform/postgres';
import { notePid, signalGroup } from './leftovers.js';
import { exitMessage } from './messages.js';
import type { ResticProgram } from './program.js';

/** A restic that was asked to end has so long to take its lock back. */
const END_MS = 10_000;
/** After its end, who still holds its output is not waited for. */
const CLOSE_MS = 10_000;
const WORDS_KEPT = 40;
const SETPRIV = '/usr/bin/setpriv';

export interface ResticCall {
  readonly args: readonly string[];
  /** The work's own: restic's working directory, and where its process id is noted. */
  readonly directory: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Its standard input: a pipe of another process, handed over. Nothing when left out. */
  readonly stdin?: Readable;
  /** Each message of its standard output and standard error that is JSON. */
  readonly onMessage?: (message: unknown) => void;
  /** Each other line of its standard error. */
  readonly onWords?: (line: string) => void;
  /** Its input is its own now. */
  readonly onStarted?: () => void;
  /** Aborted: SIGINT, so that restic takes its lock back and ends. */
  readonly signal: AbortSignal;
}

export interface ResticEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  /** The last lines that are not progress: why it failed. */
  readonly words: readonly string[];
}

/**
 * Runs restic to its end, in a process group of its own, with nothing of the agent's environment but PATH and HOME.
 * Where the system offers it, the kernel interrupts it when the agent dies; what is left is ended at the next start.
 *
 * @throws the system's error when it cannot be started
 */
export async function runRestic(restic: ResticProgram, call: ResticCall): Promise<ResticEnd> {
  call.signal.throwIfAborted();
  const [program = restic.file, ...args] = [...(await parentDeathSignal()), restic.file, ...call.args];
  call.signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: call.directory,
    env: childEnvironment({ RESTIC_PROGRESS_FPS: '1', LC_ALL: 'C', ...call.env }),
    stdio: [call.stdin ?? 'ignore', 'pipe', 'pipe'],
    detached: true,
  });
  call.onStarted?.();
  const words: string[] = [];
  const say = (line: string) => {
    words.push(line.slice(0, 2_000));
    if (words.length > WORDS_KEPT) words.shift();
  };
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
    // A dump that restic has not ended with itself would keep the streams open for as long as it likes.
    child.once('exit', () => {
      if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
      setTimeout(() => [child.stdout, child.stderr].forEach((each) => each?.destroy()), CLOSE_MS).unref();
    });
  });
  // Looked at below, after the note of its process id.
  ended.catch(() => undefined);
  read(child.stdout, (line) => call.onMessage?.(json(line)));
  read(child.stderr, (line) => {
    const message = json(line);
    if (message === undefined) {
      say(line);
      call.onWords?.(line);
    } else {
      const last = exitMessage.safeParse(message);
      if (last.success) say(last.data.message);
      call.onMessage?.(message);
    }
  });
  const release = endOnAbort(child, call.signal);
  try {
    if (child.pid !== undefined) notePid(call.directory, child.pid);
    return { code: await ended, words };
  } finally {
    release();
  }
}

/** SIGINT first: restic then removes its lock. A line that is cut keeps it from that, and it has only so long. */
function endOnAbort(child: ChildProcess, signal: AbortSignal): () => void {
  let timer: NodeJS.Timeout | undefined;
  const interrupt = () => {
    if (child.pid === undefined) return;
    const { pid } = child;
    signalProcess(pid, 'SIGINT');
    timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), END_MS);
  };
  signal.addEventListener('abort', interrupt, { once: true });
  if (signal.aborted) interrupt();
  return () => {
    clearTimeout(timer);
    signal.removeEventListener('abort', interrupt);
  };
}

function read(stream: Readable | null, each: (line: string) => void): void {
  if (stream) createInterface({ input: stream, crlfDelay: Infinity }).on('line', each);
}

/** Undefined for what is not JSON. */
function json(line: string): unknown {
  if (!/^[[{]/.test(line)) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    // Words that begin with a bracket are words.
    return undefined;
  }
}

/** Linux alone. INT, not KILL: restic ends as it does on a cancel, without a lock left behind. */
async function parentDeathSignal(): Promise<string[]> {
  const present = await access(SETPRIV, constants.X_OK).then(
    () => true,
    () => false,
  );
  return present ? [SETPRIV, '--pdeathsig', 'INT', '--'] : [];
}
