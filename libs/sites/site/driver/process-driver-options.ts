import type { Volume } from '#libs/sites/site/volume';
import type { StandbyPolicy } from './managed-standby.js';
import { SEED_RESERVE_BYTES } from './seeding.js';
import type { UidRange, WorkloadUsers } from './workload-users.js';

export interface ProcessDriverOptions {
  /** The site's folder for all of it; every folder above must let PostgreSQL's user pass. */
  readonly root: string;
  /** Where data lies; folders below `root` when left out. */
  readonly volume?: Volume;
  /** False for data that may be lost, in tests. */
  readonly durable?: boolean;
  /** WAL is kept only while the disk has this much left; a tenth of it, and 2 GB at least, when left out. */
  readonly walReserveBytes?: number;
  /** Left free beside a copy, for the WAL that arrives meanwhile; 512 MiB when left out. */
  readonly seedReserveBytes?: number;
  /** How long a start may take before the caller is told to try again; it goes on meanwhile. 60 s when left out. */
  readonly startTimeoutMs?: number;
  /** User numbers of the host that workloads' servers run as, where this process is root. */
  readonly uids?: UidRange;
  /** Folders of the host below which tablespaces may have the agency's paths; /srv/tablespaces when left out. */
  readonly tablespaceRoots?: readonly string[];
}

export function policyOf(options: ProcessDriverOptions, users: WorkloadUsers): StandbyPolicy {
  return {
    users,
    listenAddress: '127.0.0.1',
    durable: options.durable ?? true,
    ...(options.walReserveBytes === undefined ? {} : { walReserveBytes: options.walReserveBytes }),
    seedReserveBytes: options.seedReserveBytes ?? SEED_RESERVE_BYTES,
    startTimeoutMs: options.startTimeoutMs ?? 60_000,
  };
}
