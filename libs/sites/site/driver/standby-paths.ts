import { createHash } from 'node:crypto';
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';
import { keptDirectory, removeTree, runTool, type ServerIdentity } from '#libs/platform/postgres';
import type { Volume } from '#libs/sites/site/volume';
import { SiteHostError } from './errors.js';

/** A Unix socket's address holds 107 characters on Linux and 103 on macOS, file name included. */
const SOCKET_PATH_MAX = 100;
const LONGEST_SOCKET_NAME = '/.s.PGSQL.65535'.length;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Where the parts of one standby lie. Its data is on the volume, so that a snapshot holds data and tablespaces. */
export interface StandbyPaths {
  /** Settings, secrets, logs and the state file. */
  readonly home: string;
  readonly stateFile: string;
  readonly receipt: string;
  readonly passfile: string;
  /** Certificate and key, in a folder of its own. */
  readonly certificate: string;
  readonly logDirectory: string;
  readonly startLog: string;
  readonly archiveScript: string;
  /** Holds data and tablespaces; its group is the workload's user. */
  readonly volume: string;
  readonly data: string;
  readonly tablespaces: string;
  /** Kept WAL, one folder per system identifier: outside of the volume, since snapshots need none of it. */
  readonly wal: string;
  readonly sockets: string;
}

/** The directories of all standbys of a site, below one root. */
export class StandbyLayout {
  constructor(
    readonly root: string,
    private readonly volume: Volume,
  ) {}

  of(workloadId: string): StandbyPaths {
    if (!UUID.test(workloadId)) throw new RangeError(`not a workload's id: ${workloadId.slice(0, 60)}`);
    const home = path.join(this.root, 'standbys', workloadId);
    const volume = this.volume.path(workloadId);
    return {
      home,
      stateFile: path.join(home, 'standby.json'),
      receipt: path.join(home, 'receipt'),
      passfile: path.join(home, 'passfile'),
      certificate: path.join(home, 'tls', 'server.pem'),
      logDirectory: path.join(home, 'log'),
      startLog: path.join(home, 'start.log'),
      archiveScript: path.join(home, 'keep-wal.sh'),
      volume,
      data: path.join(volume, 'data'),
      tablespaces: path.join(volume, 'tablespaces'),
      wal: path.join(this.root, 'wal', workloadId),
      sockets: this.sockets(workloadId),
    };
  }

  /** Every workload of which anything is here. */
  async workloads(): Promise<string[]> {
    const found = await Promise.all([
      ifPresent(readdir(path.join(this.root, 'standbys'))),
      ifPresent(readdir(path.join(this.root, 'wal'))),
      this.volume.list(),
    ]);
    return [...new Set(found.flatMap((names) => names ?? []))].filter((name) => UUID.test(name)).sort();
  }

  /** The state's folder goes last: as long as it is there, the workload is listed and removal is taken up again. */
  async remove(workloadId: string): Promise<void> {
    const paths = this.of(workloadId);
    await this.volume.remove(workloadId);
    for (const each of [paths.wal, paths.sockets, paths.home]) await removeTree(each);
  }

  private sockets(workloadId: string): string {
    const short = workloadId.replaceAll('-', '').slice(0, 12);
    const near = path.join(this.root, 's', short);
    if (near.length + LONGEST_SOCKET_NAME <= SOCKET_PATH_MAX) return near;
    const digest = createHash('sha256').update(`${this.root}/${workloadId}`).digest('hex').slice(0, 16);
    return path.join(tmpdir(), `mainstay-${digest}`);
  }
}

/**
 * Makes a site's folders, in which only this process changes names: below them each workload's user has its own.
 *
 * @throws SiteHostError when such a user cannot get there.
 */
export async function prepareSiteRoot(root: string, sample: ServerIdentity): Promise<void> {
  await mkdir(root, { recursive: true, mode: 0o711 });
  await keptDirectory(await realpath(root));
  for (const name of ['standbys', 'wal', 's']) {
    await mkdir(path.join(root, name), { recursive: true });
    await keptDirectory(await realpath(path.join(root, name)));
  }
  await runTool('test', ['-x', root], { identity: sample }).catch((cause: unknown) => {
    throw new SiteHostError(
      `PostgreSQL's user "${sample.name}" cannot enter ${root}. Choose another folder for the site, or let others ` +
        'pass through the folders above it (chmod o+x).',
      { cause },
    );
  });
}
