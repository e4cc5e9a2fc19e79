import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { DomainError, errorText, ifPresent } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import {
  chownTo,
  clusterVersion,
  findPostgres,
  numberedIdentity,
  PostgresServer,
  serverIdentity,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { RESTIC_UID } from '../restic/site-restic.js';
import { ARCHIVE_SETTINGS, type ArchiveSettings } from '../archive-settings.js';

/**
 * As whom dumps are loaded where this process is root: nobody else's number. A dump is a program of the agency's, and all
 * that it can reach is its own scratch.
 */
export const PROOF_UID = 60_706;
/** Never used for proofs: the vault's and the databases' disk may be the same. */
const RESERVED_BYTES = 1024 ** 3;
const RESERVED_SHARE = 0.05;

/** There is no room to restore this now. */
export class NoRoomError extends DomainError {
  constructor(wanted: number, free: number) {
    super(
      'unavailable',
      'proof.no-room',
      `Restoring it takes ${megabytes(wanted)} MB, and the site has ${megabytes(free)} MB for proofs. It is tried again.`,
    );
  }
}
const megabytes = (bytes: number): number => Math.ceil(bytes / 2 ** 20);

/** Folders for proofs: one at a time, always cleared, those of a killed process at the next start. */
@Injectable()
export class ProofScratch implements OnApplicationBootstrap {
  private readonly root: string;

  constructor(
    @Inject(ARCHIVE_SETTINGS) settings: ArchiveSettings,
    private readonly logger: AppLogger,
  ) {
    this.root = path.join(settings.directory, 'proof');
  }

  async onApplicationBootstrap(): Promise<void> {
    for (const name of (await ifPresent(readdir(this.root))) ?? []) await this.clear(path.join(this.root, name));
  }

  /** As whom a dump is loaded. */
  identity(): Promise<ServerIdentity> {
    return process.getuid?.() === 0 ? Promise.resolve(numberedIdentity(PROOF_UID)) : serverIdentity();
  }

  /**
   * Runs `work` with a folder, in which there is an empty one of restic's user, `files`.
   *
   * @throws NoRoomError when so many bytes would leave too little to others
   */
  async with<T>(bytes: number, work: (folder: string) => Promise<T>): Promise<T> {
    // Passed through, by number, and looked into by nobody.
    await mkdir(this.root, { recursive: true, mode: 0o711 });
    const { bavail, blocks, bsize } = await statfs(this.root);
    const free = Math.max(0, bavail * bsize - Math.max(RESERVED_BYTES, RESERVED_SHARE * blocks * bsize));
    if (bytes > free) throw new NoRoomError(bytes, free);
    const folder = path.join(this.root, randomUUID());
    try {
      await mkdir(folder, { mode: 0o711 });
      const files = path.join(folder, 'files');
      await mkdir(files, { mode: 0o700 });
      const owner = process.getuid?.() === 0 ? numberedIdentity(RESTIC_UID) : await serverIdentity();
      await chownTo(files, owner);
      return await work(folder);
    } finally {
      await this.clear(folder);
    }
  }

  /** A server outlives the process that started it, kill -9 included: it is ended first. */
  private async clear(folder: string): Promise<void> {
    const data = path.join(folder, 'data');
    try {
      if ((await clusterVersion(data)) !== undefined)
        await (await PostgresServer.at(await findPostgres(), data)).kill9();
    } catch (error) {
      this.logger.log.error({ folder, reason: errorText(error) }, "a proof's server could not be ended");
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
