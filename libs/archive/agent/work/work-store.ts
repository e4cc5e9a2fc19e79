import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { workResult, type WorkResult } from '#contracts/archive';
import { ifPresent } from '#libs/platform/errors';
import type { Logger } from '#libs/platform/telemetry';
import { DurableValue, syncDirectory, writeDurably, type StateDirectory } from '#libs/sites/agent';
import { z } from 'zod';
import { endLeftovers } from '../restic/leftovers.js';
import type { ResticProgram } from '../restic/program.js';
import { takeLocksBack } from '../restic/repository.js';
import { STAGING_PREFIX } from './backup-arguments.js';

/** A result that no site has asked for in so long is of a site that is gone. */
const KEPT_MS = 90 * 86_400_000;
const keptResult = z.strictObject({ workloadId: z.uuid(), result: workResult });
export type KeptResult = z.infer<typeof keptResult>;

/**
 * What the agent keeps of its work on the disk: a folder for each that runs (`running/<id>`, with its secrets, removed
 * when it ends) and a file for each result that its site has not forgotten (`results/<id>.json`).
 */
export class WorkStore {
  constructor(private readonly state: StateDirectory) {}

  get cacheDirectory(): string {
    return this.state.archive('cache');
  }

  /** Ends what a dead agent has left running, and removes its folders and half-done restores. */
  async begin(log: Logger, restic: () => Promise<ResticProgram>): Promise<void> {
    const running = this.state.archive('running');
    await mkdir(running, { recursive: true, mode: 0o700 });
    for (const workId of await readdir(running)) {
      const ended = await endLeftovers(path.join(running, workId));
      // It has left its lock too, and its files still open the repository. Without a restic the lock becomes stale by itself.
      await restic().then(
        (program) => takeLocksBack(program, path.join(running, workId), this.cacheDirectory),
        () => undefined,
      );
      log.warn({ workId, processes: ended }, 'a work of an agent that died was ended; its site begins it anew');
      await this.endWork(workId);
    }
    const results = this.state.archive('results');
    await mkdir(results, { recursive: true, mode: 0o700 });
    for (const name of await readdir(results)) {
      const found = await stat(path.join(results, name));
      if (Date.now() - found.mtimeMs > KEPT_MS) await rm(path.join(results, name));
    }
  }

  /** The folder of a work that begins, 0700. */
  async beginWork(workId: string): Promise<string> {
    const directory = this.directoryOf(workId);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return directory;
  }

  async endWork(workId: string): Promise<void> {
    const directory = this.directoryOf(workId);
    const noted = await ifPresent(readFile(stagingNote(directory), 'utf8'));
    for (const folder of (noted ?? '').split('\0')) {
      if (path.basename(folder).startsWith(STAGING_PREFIX)) await rm(folder, { recursive: true, force: true });
    }
    await rm(directory, { recursive: true, force: true });
  }

  async keep(workId: string, kept: KeptResult): Promise<void> {
    await this.resultOf(workId).write(kept);
  }

  async find(workId: string): Promise<{ workloadId: string; result: WorkResult } | undefined> {
    return this.resultOf(workId).read();
  }

  async forget(workId: string): Promise<void> {
    await this.resultOf(workId).clear();
  }

  private directoryOf(workId: string): string {
    return this.state.archive('running', workId);
  }

  private resultOf(workId: string): DurableValue<KeptResult> {
    return new DurableValue(this.state.archive('results', `${workId}.json`), keptResult);
  }
}

const stagingNote = (directory: string): string => path.join(directory, 'staging');

/** Before the folders are made: what a killed agent leaves there is removed by the next. */
export async function noteStaging(directory: string, folders: readonly string[]): Promise<void> {
  await writeDurably(stagingNote(directory), folders.join('\0'));
  await syncDirectory(directory);
}
