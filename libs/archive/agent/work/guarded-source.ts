import { spawn, type ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { childEnvironment } from '#libs/platform/config';
import { signalGroup } from '../restic/leftovers.js';
import type { SourcePart } from '../sources/source-part.js';

/**
 * A program that fails tells so, and holds its output open until it is killed: at the end of a stream restic would take
 * what came for all there is.
 */
const GUARD = '"$@" || { code=$?; trap "" PIPE; echo "$code" >&3; exec sleep 2147483647; }';

/** A stream for a restic that cannot run programs itself (before 0.17). */
export class GuardedSource {
  private readonly failing = new AbortController();
  private code: string | undefined;
  private said = '';

  private constructor(private readonly child: ChildProcess) {
    (child.stdio[3] as Readable).once('data', (code: Buffer) => {
      this.code = code.toString().trim();
      this.failing.abort();
    });
    child.once('error', (error) => {
      this.code = error.message;
      this.failing.abort();
    });
    child.stderr?.on('data', (chunk: Buffer) => (this.said = `${this.said}${chunk.toString()}`.slice(-2_000)));
  }

  static start({ command, env }: SourcePart, directory: string): GuardedSource {
    const child = spawn('/bin/sh', ['-c', GUARD, 'sh', ...command], {
      cwd: directory,
      env: childEnvironment({ LC_ALL: 'C', ...env }),
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      detached: true,
    });
    return new GuardedSource(child);
  }

  get stream(): Readable {
    return this.child.stdout as Readable;
  }

  /** Aborted when the program has failed. */
  get failed(): AbortSignal {
    return this.failing.signal;
  }

  /** restic has the pipe now: whoever else held it open would keep restic from its end. */
  handOver(): void {
    this.stream.destroy();
  }

  /** In the words in which a newer restic would say it; undefined when the program has not failed. */
  failure(): string[] | undefined {
    if (this.code === undefined) return undefined;
    const lines = this.said.split('\n').filter((line) => line !== '');
    return [...lines.map((line) => `subprocess sh: ${line}`), `command failed: exit status ${this.code}`];
  }

  end(): void {
    if (this.child.pid !== undefined) signalGroup(this.child.pid, 'SIGKILL');
  }
}
