import { lstat, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { platform } from 'node:os';
import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { waitFor } from '#libs/platform/clock';
import {
  keptDirectory,
  numberedIdentity,
  processesOfUser,
  serverIdentity,
  signalProcess,
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
    const status = await lstat(volume).catch(() => undefined);
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
    const own = await this.claimedBy(home);
    if (own !== undefined) return numberedIdentity(own);
    const strangers = await namedIds();
    for (let uid = this.range.first; uid <= this.range.last; uid++) {
      if (strangers.has(uid) || (await processesOfUser(uid)).length > 0) continue;
      if (await this.reserve(uid, home)) return numberedIdentity(uid);
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
    const uid = await this.claimedBy(home);
    if (uid !== undefined) await rm(this.link(uid), { force: true });
  }

  private link(uid: number): string {
    return path.join(this.registry, String(uid));
  }

  private async claimedBy(home: string): Promise<number | undefined> {
    for (const name of await readdir(this.registry).catch(() => [])) {
      const uid = Number(name);
      if (Number.isInteger(uid) && (await readlink(this.link(uid)).catch(() => undefined)) === home) return uid;
    }
    return undefined;
  }

  private async reserve(uid: number, home: string): Promise<boolean> {
    const holder = await readlink(this.link(uid)).catch(() => undefined);
    if (holder !== undefined) {
      if (await lstat(holder).catch(() => undefined)) return false;
      if (!(await this.takeAway(uid, holder))) return false;
    }
    try {
      await symlink(home, this.link(uid));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  /** Of two that take away what a removed workload held, one gets it; a fresh claim that was met instead is put back. */
  private async takeAway(uid: number, holder: string): Promise<boolean> {
    const aside = path.join(this.registry, `.${randomUUID()}`);
    try {
      await rename(this.link(uid), aside);
    } catch {
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

/** Numbers that the host's own users and groups have. */
async function namedIds(): Promise<Set<number>> {
  const texts = await Promise.all(['/etc/passwd', '/etc/group'].map((file) => readFile(file, 'utf8').catch(() => '')));
  return new Set(texts.flatMap((text) => text.split('\n').map((line) => Number(line.split(':')[2]))));
}
