import { spawn } from 'node:child_process';
import path from 'node:path';
import { PostgresToolError } from './errors.js';
import type { ServerIdentity } from './identity.js';

export interface RunToolOptions {
  /** Added to a clean environment of PATH, HOME and the C locale; nothing is inherited, `PG*` variables above all. */
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds until the program is killed; without limit when left out. */
  readonly timeoutMs?: number;
  /** Run as this user; as our own when left out. */
  readonly identity?: ServerIdentity;
  readonly signal?: AbortSignal;
  readonly cwd?: string;
  /** Written to its standard input. */
  readonly input?: string;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
}

const CAPTURE_LIMIT = 16 * 1024 * 1024;
const TAIL = 2_000;

/** The environment in which PostgreSQL's programs run: English messages, and nothing that our own process was given. */
export function toolEnvironment(identity?: ServerIdentity, extra: Readonly<Record<string, string>> = {}) {
  return {
    PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
    LC_ALL: 'C',
    HOME: identity?.home ?? '/',
    PGCONNECT_TIMEOUT: '10',
    ...extra,
  };
}

/** The spawn options that make a program run as `identity`. */
export function runAs(identity: ServerIdentity | undefined): { uid?: number; gid?: number } {
  return identity?.switched ? { uid: identity.uid, gid: identity.gid } : {};
}

/**
 * Runs one of PostgreSQL's programs to its end and captures what it wrote (the last 16 MiB of each stream).
 *
 * @throws PostgresToolError for a non-zero exit, a time-out or an abort; its detail has the end of stderr without
 * passwords.
 */
export function runTool(file: string, args: readonly string[], options: RunToolOptions = {}): Promise<ToolOutput> {
  const tool = path.basename(file);
  const env = toolEnvironment(options.identity, options.env);
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      reject(new PostgresToolError(tool, null, 'aborted', 'aborted before it was started'));
      return;
    }
    const child = spawn(file, args, {
      cwd: options.cwd ?? '/',
      env,
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      ...runAs(options.identity),
    });
    let ended: 'timeout' | 'aborted' | undefined;
    const stop = (reason: 'timeout' | 'aborted') => {
      ended ??= reason;
      child.kill('SIGKILL');
    };
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => stop('timeout'), options.timeoutMs);
    const onAbort = () => stop('aborted');
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    const stdout = capture(child.stdout);
    const stderr = capture(child.stderr);
    child.on('error', (error) => {
      settle();
      reject(new PostgresToolError(tool, null, 'not-started', redact(error.message, env), error));
    });
    child.on('close', (code) => {
      settle();
      if (code === 0 && !ended) resolve({ stdout: stdout(), stderr: stderr() });
      else reject(new PostgresToolError(tool, code, ended ?? 'failed', redact(stderr().slice(-TAIL).trim(), env)));
    });
    if (options.input !== undefined) {
      // A program that ends without reading its input must be judged by its exit code, not by EPIPE.
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(options.input);
    }
  });
}

function capture(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    while (size > CAPTURE_LIMIT && chunks.length > 1) size -= chunks.shift()?.length ?? 0;
  });
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Strikes out passwords: values of the environment's *PASSWORD variables, and those in connection strings and SQL. */
export function redact(text: string, env: Readonly<Record<string, string>> = {}): string {
  let clean = text;
  for (const [name, value] of Object.entries(env)) {
    if (/PASSWORD|SECRET|TOKEN/i.test(name) && value !== '') clean = clean.replaceAll(value, '***');
  }
  return clean
    .replace(/(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)/gi, '$1***')
    .replace(/(\bpassword\s+)'(?:[^']|'')*'/gi, '$1***')
    .replace(/(\w+:\/\/[^\s:/@]+):[^\s@]+@/g, '$1:***@');
}
