import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { StandbyState } from '#contracts/replication';
import type { PeerSite, SiteRole } from '#contracts/sites';
import { Listener, SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { SITE_DATABASE_URL } from '#libs/sites/site/gateway';
import type { Followed } from './forwarders.js';
import type { FrontDoorTarget } from './front-doors.js';

/** One workload as the link process must know it. */
export interface LinkedWorkload {
  readonly workloadId: string;
  readonly agentId: string;
  /** The agent is this agency's own and not revoked: only then is its server reached. */
  readonly agentAdmitted: boolean;
  readonly workloadName: string;
  readonly role: SiteRole;
  readonly state: StandbyState;
  readonly follow: Followed;
  readonly peer: PeerSite | null;
  readonly forwardPort: number | null;
  readonly standbyPort: number | null;
  readonly doorPort: number | null;
  readonly leadsTo: FrontDoorTarget | null;
  /** From where clients may come to the front door, in CIDR notation; none: from nowhere. */
  readonly clientNetworks: readonly string[];
}

/** A second copy of another site's archive that this site keeps: that site may ask about it, and nothing else. */
interface KeptCopy {
  readonly workloadId: string;
  readonly first: PeerSite;
}

/** Without a notification the rows are read again after this long: it bounds how late a revocation can be. */
const POLL_MS = 1_000;

/**
 * The rows that the link process acts on, read again whenever they change. What they say is the only thing that opens a
 * connection: a workload that is not here is not reached, and when the rows cannot be read, nothing new opens.
 */
@Injectable()
export class LinkRows implements OnApplicationShutdown {
  private rows: ReadonlyMap<string, LinkedWorkload> = new Map();
  private copies: readonly KeptCopy[] = [];
  private readonly listeners: (() => void)[] = [];
  private readonly pulseListeners: (() => void)[] = [];
  private readonly listener: Listener;
  private timer: NodeJS.Timeout | undefined;
  private reading: Promise<void> | undefined;
  private again = false;
  private stopped = false;

  constructor(
    @Inject(SITE_DATABASE_URL) url: string,
    private readonly work: SiteUnitOfWork,
    private readonly logger: AppLogger,
  ) {
    this.listener = new Listener(url, ['link_changed'], (_channel, table) => this.heard(table), logger.log);
  }

  /** Calls back after each reading, changed or not, and about once a second. */
  whenRead(callback: () => void): void {
    this.listeners.push(callback);
  }

  /** Calls back when agents should hear of a change before the next pulse is due. */
  whenPulseChanged(callback: () => void): void {
    this.pulseListeners.push(callback);
  }

  private heard(table: string): void {
    void this.read();
    if (table === 'standby' || table === 'armed_lease') for (const callback of this.pulseListeners) callback();
  }

  /** Reads the rows for the first time; keeps them up to date from then on. */
  async start(): Promise<void> {
    await this.read();
    await this.listener.start();
  }

  async onApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.listener.close();
    await this.reading;
  }

  all(): Iterable<LinkedWorkload> {
    return this.rows.values();
  }

  get(workloadId: string): LinkedWorkload | undefined {
    return this.rows.get(workloadId);
  }

  /** The keys by which this site knows another one: those that the orders about common workloads brought. */
  peerKeys(siteId: string): string[] {
    const peers = [...[...this.rows.values()].map(({ peer }) => peer), ...this.copies.map(({ first }) => first)];
    return [...new Set(peers.flatMap((peer) => (peer?.siteId === siteId ? [peer.publicKey] : [])))];
  }

  keepsCopyOf(workloadId: string, siteId: string): boolean {
    return this.copies.some((copy) => copy.workloadId === workloadId && copy.first.siteId === siteId);
  }

  /** Reads now; a reading that is under way is followed by one more. */
  read(): Promise<void> {
    if (this.reading) {
      this.again = true;
      return this.reading;
    }
    this.reading = this.readUntilCurrent().finally(() => (this.reading = undefined));
    return this.reading;
  }

  private async readUntilCurrent(): Promise<void> {
    clearTimeout(this.timer);
    do {
      this.again = false;
      try {
        const { rows, copies } = await this.load();
        this.rows = new Map(rows.map((row) => [row.workloadId, row]));
        this.copies = copies;
        for (const callback of this.listeners) callback();
      } catch (error) {
        this.logger.log.warn({ err: error }, 'the site database cannot be read; what is open stays as it is');
      }
    } while (this.again && !this.stopped);
    if (!this.stopped) this.timer = setTimeout(() => void this.read(), POLL_MS);
  }

  private load(): Promise<{ rows: LinkedWorkload[]; copies: KeptCopy[] }> {
    return this.work.run(async (tx) => ({
      rows: await tx.query<LinkedWorkload>(
        `SELECT s.workload_id AS "workloadId", s.agent_id AS "agentId", s.workload_name AS "workloadName", s.role,
                s.state, s.follow, s.peer, s.forward_port AS "forwardPort", s.standby_port AS "standbyPort",
                d.port AS "doorPort", d.leads_to AS "leadsTo",
                coalesce(d.client_networks, '{}') AS "clientNetworks", a.agent_id IS NOT NULL AS "agentAdmitted"
           FROM standby s
           LEFT JOIN front_door d USING (workload_id)
           LEFT JOIN agent_identity a
             ON a.agent_id = s.agent_id AND a.tenant_id = s.tenant_id AND a.revoked_at IS NULL
          WHERE s.state <> 'removed'`,
      ),
      copies: await tx.query<KeptCopy>(`SELECT workload_id AS "workloadId", first FROM archive_kept_copy`),
    }));
  }
}
