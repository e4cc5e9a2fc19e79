import { randomInt, randomUUID } from 'node:crypto';
import { lchown, lstat, mkdir, readdir, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { waitFor } from '#libs/platform/clock';
import { DomainError, errorText, ifPresent } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import {
  chownTo,
  clusterVersion,
  findPostgres,
  numberedIdentity,
  PostgresServer,
  processesOfUser,
  serverIdentity,
  type ServerIdentity,
  signalProcess,
  usersThatRun,
} from '#libs/platform/postgres';
import { confinement } from './confinement.js';
import { RESTIC_UID } from '../restic/site-restic.js';
import { ARCHIVE_SETTINGS, type ArchiveSettings } from '../archive-settings.js';

/**
 * As whom dumps are loaded where this process is root: numbers that neither Debian, nor systemd, nor we give to anybody
 * else, workloads least of all. A dump is a program of the agency's: each is loaded as a number of its own, so that what it
 * leaves running can reach no other agency's, and all of that is ended with it.
 */
const PROOF_UIDS = { first: 60_578, last: 60_704 };
const END_MS = 10_000;
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

/** Something runs as each of the numbers. */
export class NoProofUserError extends DomainError {
  constructor() {
    super(
      'unavailable',
      'proof.no-user',
      `What earlier proofs started still runs as every user from ${PROOF_UIDS.first} to ${PROOF_UIDS.last}. The provider must end it.`,
    );
  }
}

const isRoot = (): boolean => process.getuid?.() === 0;
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
    const { missing } = await confinement();
    if (missing.length > 0) this.logger.log.warn({ missing }, 'this host does not let dumps be loaded with less');
    for (const name of (await ifPresent(readdir(this.root))) ?? []) await this.clear(path.join(this.root, name));
  }

  /**
   * As whom the dump in this folder is loaded: somebody as whom nothing runs. The folder's group says who, before anything
   * does: whoever clears it ends what is left.
   *
   * @throws NoProofUserError
   */
  async identity(folder: string): Promise<ServerIdentity> {
    if (!isRoot()) return serverIdentity();
    const running = await usersThatRun();
    const numbers = Array.from({ length: PROOF_UIDS.last - PROOF_UIDS.first + 1 }, (_, at) => PROOF_UIDS.first + at);
    const free = numbers.filter((uid) => !running.has(uid));
    // Any of them: another site of this host may choose at this moment.
    const uid = free[randomInt(Math.max(1, free.length))];
    if (uid === undefined) throw new NoProofUserError();
    await lchown(folder, 0, uid);
    return numberedIdentity(uid);
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
      const owner = isRoot() ? numberedIdentity(RESTIC_UID) : await serverIdentity();
      await chownTo(files, owner);
      return await work(folder);
    } finally {
      await this.clear(folder);
    }
  }

  /**
   * A server outlives the process that started it, kill -9 included, and what a dump started outlives its server: both are
   * ended first. Then nobody can put a link in the way of what is removed. What cannot be done is left to the next start.
   */
  private async clear(folder: string): Promise<void> {
    try {
      await endProcesses(folder);
      const data = path.join(folder, 'data');
      if ((await clusterVersion(data)) !== undefined)
        await (await PostgresServer.at(await findPostgres(), data)).kill9();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    } catch (error) {
      this.logger.log.error({ folder, reason: errorText(error) }, 'what a proof left could not be cleared');
    }
  }
}

async function endProcesses(folder: string): Promise<void> {
  const uid = (await ifPresent(lstat(folder)))?.gid ?? 0;
  if (!isRoot() || uid < PROOF_UIDS.first || uid > PROOF_UIDS.last) return;
  const gone = async () => {
    const pids = await processesOfUser(uid);
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    return pids.length === 0;
  };
  await waitFor("a proof's processes to end", gone, { timeoutMs: END_MS, everyMs: 10 });
}
