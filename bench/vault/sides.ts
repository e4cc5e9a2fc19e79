import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { freePort } from '#libs/platform/postgres';
import { answersHttp, programOnPath, stop } from './programs.js';

/** A place that restic backs up to. */
export interface VaultSide {
  readonly name: string;
  /** @throws SideMissingError when this machine does not have the program. */
  start(home: string): Promise<void>;
  /** The address of a new repository. */
  repository(): Promise<string>;
  /** The server's process; null for a side without one. */
  readonly pid: number | null;
  /** What a server keeps in its memory is gone afterwards; a side without one has nothing to do. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export abstract class ProgramSide implements VaultSide {
  abstract readonly name: string;
  protected child: ChildProcess | undefined;
  protected port = 0;
  private words: readonly string[] = [];

  get pid(): number | null {
    return this.child?.pid ?? null;
  }

  abstract start(home: string): Promise<void>;
  abstract repository(): Promise<string>;

  async stop(): Promise<void> {
    if (this.child) await stop(this.child);
  }

  async restart(): Promise<void> {
    const [file = '', ...words] = this.words;
    await this.stop();
    await this.run(file, words);
  }

  protected async run(file: string, words: readonly string[]): Promise<void> {
    this.words = [file, ...words];
    this.child = spawn(file, words, { stdio: 'ignore', env: childEnvironment({}) });
    await waitFor(`${this.name} to answer`, () => answersHttp(this.port), { timeoutMs: 10_000 });
  }
}

export class RestServer extends ProgramSide {
  readonly name = 'rest-server';

  async start(home: string): Promise<void> {
    const folder = path.join(home, 'rest-server');
    const file = programOnPath('rest-server');
    this.port = await freePort();
    await this.run(file, ['--no-auth', '--path', folder, '--listen', `127.0.0.1:${this.port}`]);
  }

  async repository(): Promise<string> {
    return `rest:http://127.0.0.1:${this.port}/${randomUUID()}/`;
  }
}

export class Rclone extends ProgramSide {
  readonly name = 'rclone serve restic';

  async start(home: string): Promise<void> {
    const folder = path.join(home, 'rclone');
    await mkdir(folder);
    this.port = await freePort();
    await this.run(programOnPath('rclone'), ['serve', 'restic', '--addr', `127.0.0.1:${this.port}`, folder]);
  }

  async repository(): Promise<string> {
    return `rest:http://127.0.0.1:${this.port}/${randomUUID()}/`;
  }
}

export class LocalFolder implements VaultSide {
  readonly name = 'a local folder';
  readonly pid = null;
  private home = '';

  async start(home: string): Promise<void> {
    this.home = path.join(home, 'local');
  }

  async repository(): Promise<string> {
    return path.join(this.home, randomUUID());
  }

  async restart(): Promise<void> {}

  async stop(): Promise<void> {}
}
