import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { childEnvironment } from '#libs/platform/config';
import { runAs, type ServerIdentity } from '#libs/platform/postgres';
import { ResticFailedError } from './restic.errors.js';

export interface ResticOutcome {
  /** 0, or 3: done, with faults that `messages` name. */
  readonly code: number;
  readonly messages: readonly string[];
}

export interface ResticCall {
  readonly identity: ServerIdentity | undefined;
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly onLine?: (json: unknown) => void;
  readonly stdoutTo?: Writable;
  /** Struck out of what it says. */
  readonly secrets: readonly string[];
}

/** Of what it says so many lines are kept, the last ones. */
const LINES_KEPT = 50;
const LINE_CHARACTERS = 2_000;
/** To take its lock away before it is killed. */
const GRACE_MS = 10_000;
/** Done, with faults: some of the files could not be read. */
const WITH_FAULTS = 3;

/** @throws ResticFailedError, the signal's reason when aborted */
export async function runRestic(program: string, args: readonly string[], call: ResticCall): Promise<ResticOutcome> {
  call.signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: call.cwd,
    env: childEnvironment(call.environment),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...runAs(call.identity),
  });
  let kill: NodeJS.Timeout | undefined;
  const end = () => {
    child.kill('SIGTERM');
    kill ??= setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
  };
  call.signal.addEventListener('abort', end, { once: true });
  try {
    const closed = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve(code));
    });
    const messages: string[] = [];
    const keep = (line: string) => {
      messages.push(cut(line, call.secrets));
      if (messages.length > LINES_KEPT) messages.shift();
    };
    const heard = Promise.all([
      listen(child.stderr, (line) => keep(line)),
      call.stdoutTo
        ? pipeline(child.stdout, call.stdoutTo, { end: false })
        : listen(child.stdout, (line) => (call.onLine ? tell(line, call.onLine, keep) : keep(line))),
    ]).catch(async (error: unknown) => {
      // Nobody takes what it says any more. Its folder goes with the caller, so that it must be gone before.
      end();
      await closed;
      throw error;
    });
    const [code] = await Promise.all([closed, heard]);
    call.signal.throwIfAborted();
    if (code !== 0 && code !== WITH_FAULTS) throw new ResticFailedError(code, messages);
    return { code, messages };
  } finally {
    clearTimeout(kill);
    call.signal.removeEventListener('abort', end);
  }
}

async function listen(stream: Readable, heard: (line: string) => void): Promise<void> {
  for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) {
    if (line !== '') heard(line);
  }
}

function tell(line: string, onLine: (json: unknown) => void, keep: (line: string) => void): void {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return keep(line);
  }
  onLine(json);
}

/** restic writes its errors as JSON where it was asked for JSON: of these the message. */
function cut(line: string, secrets: readonly string[]): string {
  const [, message] = /^\{.*"message":"((?:[^"\\]|\\.)*)"/.exec(line) ?? [];
  let clean = (message ?? line).slice(0, LINE_CHARACTERS);
  for (const secret of secrets) clean = clean.replaceAll(secret, '***');
  return clean;
}
