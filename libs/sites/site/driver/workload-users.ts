import { lstat, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { waitFor } from '#libs/platform/clock';
import { errorCode, ifPresent } from '#libs/platform/errors';
import {
  keptDirectory,
  numberedIdentity,
  processesOfUser,
  serverIdentity,
  signalProcess,
  usersThatRun,
  type ServerIdentity,
} from '#libs/platform/postgres';
import { SiteHostError } from './errors.js';

export interface UidRange {
  readonly first: number;
  readonly last: number;
}

/** Numbers that neither Debian's policy nor systemd ("Users, Groups, UIDs and GIDs on systemd systems") gives to anybody. */
export const DEFAULT_UIDS: UidRange = { first: 60_706, last: 61_183 };
/** One for all sites of a host: two that share one must not give one number to two agencies. */
const REGISTRY = '/var/lib/mainstay/uids';
const END_MS = 10_000;

/**
 * One operating system user for each workload of a host, a number without a name, so that no agency's server can read or
 * signal another's. The group of the workload's volume says whose it is; a link in the registry (number → the workload's
 * folder) only keeps two from being given one number, and counts no more once that folder is gone.
 *
 * Only root can run servers as others. Without it all are of our own user, and on other systems than Linux of `postgres`;
 * standbys of before, whose volume belongs to `postgres`, stay as they are.
 */
export class WorkloadUsers {
  constructor(
    private readonly range: UidRange = DEFAULT_UIDS,
    private readonly registry = REGISTRY,
  ) {}

  /** False where all servers run as one user. */
  get areSeparate(): boolean {
    return process.getuid?.() === 0 && platform() === 'linux';
  }

  /** Anybody of those that may own a workload: to see whether they can get somewhere. */
  async sample(): Promise<ServerIdentity> {
    return this.areSeparate ? numberedIdentity(this.range.first) : serverIdentity();
  }

  /** Whose a volume is; undefined when it was given to nobody yet. */
  async of(volume: string): Promise<ServerIdentity | undefined> {
    const common = await serverIdentity();
    const status = await ifPresent(lstat(volume));
    if (!this.areSeparate || !status) return status && common;
    if (status.uid !== 0 || status.gid === common.gid) return common;
    return status.gid === 0 ? undefined : numberedIdentity(status.gid);
  }

  /** The user of a workload whose folder and volume are there; one is chosen for a volume that is nobody's yet. */
  async ensure({ home, volume }: { readonly home: string; readonly volume: string }): Promise<ServerIdentity> {
    return (await this.of(volume)) ?? this.claim(home);
  }

  /** Asked again, the same. */
  private async claim(home: string): Promise<ServerIdentity> {
    if (!this.areSeparate) return serverIdentity();
    await keptDirectory(this.registry);
    const claims = await this.claims();
    const own = [...claims].find(([, holder]) => holder === home)?.[0];
    if (own !== undefined) return numberedIdentity(own);
    const free = await this.free(claims);
    // All processes of the host are read, and once: a failover of another workload waits for its own files meanwhile.
    const running = free.length > 0 ? await usersThatRun() : new Set<number>();
    for (const uid of free) {
      if (!running.has(uid) && (await this.reserve(uid, home))) return numberedIdentity(uid);
    }
    throw new SiteHostError(
      'All user numbers of the site are given away. Widen SITE_UID_RANGE by numbers that nobody else uses on this host.',
      { detail: `${this.range.first} to ${this.range.last}` },
    );
  }

  /** Ends whatever runs as a workload's own user, also what its server started and left. */
  async endProcesses(volume: string): Promise<void> {
    const [identity, common] = [await this.of(volume), await serverIdentity()];
    if (!this.areSeparate || !identity || identity.uid === common.uid) return;
    const gone = async () => {
      const pids = await processesOfUser(identity.uid);
      for (const pid of pids) signalProcess(pid, 'SIGKILL');
      return pids.length === 0;
    };
    await waitFor("the workload's processes to end", gone, { timeoutMs: END_MS, everyMs: 10 });
  }

  /** Gives the number back, after everything that bore it is gone. */
  async release(home: string): Promise<void> {
    if (!this.areSeparate) return;
    for (const [uid, holder] of await this.claims()) {
      if (holder === home) await rm(this.link(uid), { force: true });
    }
  }

  private link(uid: number): string {
    return path.join(this.registry, String(uid));
  }

  /** The folders of the workloads to which numbers were given, whether or not they are still there. */
  private async claims(): Promise<Map<number, string>> {
    const claims = new Map<number, string>();
    for (const name of (await ifPresent(readdir(this.registry))) ?? []) {
      const holder = /^\d+$/.test(name) && (await this.holder(Number(name)));
      if (holder) claims.set(Number(name), holder);
    }
    return claims;
  }

  /** Numbers of the range that no user of the host has, and no workload that is still there. */
  private async free(claims: ReadonlyMap<number, string>): Promise<number[]> {
    const strangers = await namedIds();
    const free: number[] = [];
    for (let uid = this.range.first; uid <= this.range.last; uid++) {
      const holder = claims.get(uid);
      const taken = strangers.has(uid) || (holder !== undefined && !(await isGone(holder)));
      if (!taken) free.push(uid);
    }
    return free;
  }

  /** The folder of the workload that a number was given to; undefined for what is no link, and so none of ours. */
  private async holder(uid: number): Promise<string | undefined> {
    try {
      return await ifPresent(readlink(this.link(uid)));
    } catch (error) {
      if (errorCode(error) === 'EINVAL') return undefined;
      throw error;
    }
  }

  private async reserve(uid: number, home: string): Promise<boolean> {
    const holder = await this.holder(uid);
    if (holder !== undefined) {
      if (!(await isGone(holder))) return false;
      if (!(await this.takeAway(uid, holder))) return false;
    }
    try {
      await symlink(home, this.link(uid));
      return true;
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return false;
      throw error;
    }
  }

  /** Of two that take away what a removed workload held, one gets it; a fresh claim that was met instead is put back. */
  private async takeAway(uid: number, holder: string): Promise<boolean> {
    const aside = path.join(this.registry, `.${randomUUID()}`);
    try {
      await rename(this.link(uid), aside);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      // Another was first.
      return false;
    }
    if ((await readlink(aside)) === holder) {
      await rm(aside);
      return true;
    }
    await rename(aside, this.link(uid));
    return false;
  }
}

/** A folder that cannot be looked at, on a disk that is sick, may still hold a workload: it keeps its number. */
async function isGone(home: string): Promise<boolean> {
  try {
    await lstat(home);
    return false;
  } catch (error) {
    return ['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '');
  }
}

/** Numbers that the host's own users and groups have. */
async function namedIds(): Promise<Set<number>> {
  const texts = await Promise.all(['/etc/passwd', '/etc/group'].map((file) => ifPresent(readFile(file, 'utf8'))));
  return new Set(texts.flatMap((text = '') => text.split('\n').map((line) => Number(line.split(':')[2]))));
}
