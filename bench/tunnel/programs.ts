import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { waitFor } from '#libs/platform/clock';

/** Something that was started and has to be stopped, last first. */
export class Cleanup {
  private readonly steps: (() => Promise<unknown> | unknown)[] = [];

  add(step: () => Promise<unknown> | unknown): void {
    this.steps.unshift(step);
  }

  async run(): Promise<void> {
    for (const step of this.steps.splice(0)) {
      await Promise.resolve(step()).catch((error: unknown) => console.error('while cleaning up:', error));
    }
  }
}

const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/' };

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 3_000);
  await gone;
  clearTimeout(hard);
}

/** Starts a program that stays; its standard error is shown only when it ends by itself. */
export function startProgram(cleanup: Cleanup, file: string, args: readonly string[]): ChildProcess {
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], env: ENVIRONMENT });
  let said = '';
  let stopping = false;
  child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2_000)));
  child.on('error', (error) => console.error(`${file}: ${error.message}`));
  child.on('exit', (code) => {
    if (!stopping) console.error(`${file} ended with ${code}: ${said}`);
  });
  cleanup.add(() => {
    stopping = true;
    return stop(child);
  });
  return child;
}

/** Starts one of the benchmark's own programs, hands it its configuration, and waits for its answer. */
export async function startEnd<A>(
  cleanup: Cleanup,
  script: 'agent-end' | 'site-end' | 'delay-end',
  configuration: object,
  namespace?: string,
): Promise<A> {
  const path = fileURLToPath(new URL(`./${script}.js`, import.meta.url));
  const child = namespace
    ? spawn('ip', ['netns', 'exec', namespace, process.execPath, path], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
    : fork(path);
  cleanup.add(() => stop(child));
  child.send(configuration);
  const [answer] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => Promise.reject(new Error(`${script} ended before it was ready`))),
  ])) as [A];
  return answer;
}

export interface RunOptions {
  readonly uid?: number;
  readonly gid?: number;
  /** Counts what it writes, in place of throwing it away. */
  readonly count?: boolean;
}

/** Runs a program to its end with its output thrown away (to /dev/null itself, so that reading it costs nobody). */
export async function timed(
  file: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ seconds: number; bytes: number }> {
  const { count = false, ...identity } = options;
  const begin = performance.now();
  const child = spawn(file, args, {
    stdio: ['ignore', count ? 'pipe' : 'ignore', 'pipe'],
    env: ENVIRONMENT,
    ...identity,
  });
  let bytes = 0;
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => (bytes += chunk.length));
  child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2_000)));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${file} ended with ${code}: ${said}`);
  return { seconds: (performance.now() - begin) / 1_000, bytes };
}

/** Runs a program to its end and answers what it wrote. */
export async function output(file: string, args: readonly string[]): Promise<string> {
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: ENVIRONMENT });
  let text = '';
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${code}: ${said.slice(-2_000)}`);
  return text;
}

export async function waitForPort(port: number): Promise<void> {
  await waitFor(
    `something to listen on port ${port}`,
    async () => {
      const socket = createConnection({ port, host: '127.0.0.1' });
      const open = await Promise.race([
        once(socket, 'connect').then(() => true),
        once(socket, 'error').catch(() => false),
      ]);
      socket.on('error', () => undefined).destroy();
      return open === true;
    },
    { timeoutMs: 15_000, everyMs: 100 },
  );
  await delay(200);
}
