import type { Duplex } from 'node:stream';
import { FrontDoor, type FrontDoorTarget, LocalForwarder, type LinkLog, WorkloadRefusedError } from '#libs/link';
import { errorText } from '#libs/platform/errors';
import type { PeerSite } from '#contracts/sites';
import { ClientGate } from './client-gate.js';
import { FORWARD_HOST } from './forwarders.js';
import type { LinkedWorkload, LinkRows } from './link-rows.js';

/** The two ways out of a site. */
export interface Ways {
  /** To a workload of an agent. `bulk`: clients of a front door share nothing with the streams of commits. */
  agent(agentId: string, workloadName: string, lane: 'sync' | 'bulk'): Promise<Duplex>;
  /** To the other site's standby of a workload. */
  peer(peer: PeerSite, workloadId: string): Promise<Duplex>;
}

interface Open<L> {
  readonly listener: L;
  readonly port: number;
  /** What it led to; another place ends the connections to this one. */
  leadsTo: string | undefined;
}

const NOWHERE: readonly string[] = [];

/** Keeps a listener for each forwarder and front door that the rows name, for as long as they name it. */
export class LinkListeners {
  private readonly forwarders = new Map<string, Open<LocalForwarder>>();
  private readonly doors = new Map<string, Open<FrontDoor>>();
  private readonly troubled = new Set<string>();
  private working = Promise.resolve();
  private closed = false;

  constructor(
    private readonly rows: LinkRows,
    private readonly ways: Ways,
    private readonly doorHost: string,
    private readonly log: LinkLog,
  ) {}

  /** Brings the listeners in line with the rows. Switches take effect at once; opening and closing follow in turn. */
  reconcile(): void {
    for (const [workloadId, door] of this.doors) {
      door.leadsTo = placeOf(this.rows.get(workloadId));
      door.listener.switchTo(door.leadsTo);
      door.listener.recheck();
    }
    for (const [workloadId, forwarder] of this.forwarders) {
      const source = sourceOf(this.rows.get(workloadId));
      if (source !== forwarder.leadsTo) forwarder.listener.cut();
      forwarder.leadsTo = source;
    }
    this.working = this.working.then(() => this.openAndClose());
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.working;
    const all = [...this.forwarders.values(), ...this.doors.values()];
    await Promise.all(all.map(({ listener }) => listener.close()));
  }

  private async openAndClose(): Promise<void> {
    await this.closeUnnamed(this.forwarders, (row) => row.forwardPort);
    await this.closeUnnamed(this.doors, (row) => row.doorPort);
    for (const row of this.rows.all()) {
      // A reading of the rows that was under way must not open what nobody would close.
      if (this.closed) return;
      const { workloadId, forwardPort, doorPort } = row;
      if (forwardPort !== null && !this.forwarders.has(workloadId)) {
        const options = { host: FORWARD_HOST, port: forwardPort, open: () => this.source(workloadId), log: this.log };
        const listener = new LocalForwarder(options);
        await this.listen(this.forwarders, workloadId, { listener, port: forwardPort, leadsTo: sourceOf(row) });
      }
      if (doorPort !== null && !this.doors.has(workloadId)) {
        const listener = this.door(workloadId, doorPort);
        await this.listen(this.doors, workloadId, { listener, port: doorPort, leadsTo: placeOf(row) });
      }
    }
  }

  private async closeUnnamed<L extends LocalForwarder | FrontDoor>(
    open: Map<string, Open<L>>,
    portOf: (row: LinkedWorkload) => number | null,
  ): Promise<void> {
    for (const [workloadId, { listener, port }] of open) {
      const row = this.rows.get(workloadId);
      if (row && portOf(row) === port) continue;
      open.delete(workloadId);
      await listener.close();
    }
  }

  /** A port that somebody else holds is tried again with each reading of the rows. */
  private async listen<L extends LocalForwarder | FrontDoor>(
    open: Map<string, Open<L>>,
    workloadId: string,
    entry: Open<L>,
  ): Promise<void> {
    const name = `${workloadId} ${entry.port}`;
    try {
      await entry.listener.listen();
      open.set(workloadId, entry);
      this.troubled.delete(name);
    } catch (error) {
      if (!this.troubled.has(name)) {
        this.log('warn', 'a port cannot be listened on; trying again', {
          workloadId,
          port: entry.port,
          why: errorText(error),
        });
      }
      this.troubled.add(name);
    }
  }

  private door(workloadId: string, port: number): FrontDoor {
    const networks = (): readonly string[] => this.rows.get(workloadId)?.clientNetworks ?? NOWHERE;
    const gate = new ClientGate(networks, () => performance.now(), this.log);
    return new FrontDoor({ host: this.doorHost, port, target: () => this.target(workloadId), gate, log: this.log });
  }

  private source(workloadId: string): Promise<Duplex> {
    const row = this.rows.get(workloadId);
    if (row?.follow === 'peer' && row.peer) return this.ways.peer(row.peer, workloadId);
    return this.production(row, workloadId, 'sync');
  }

  private production(row: LinkedWorkload | undefined, workloadId: string, lane: 'sync' | 'bulk'): Promise<Duplex> {
    if (row?.agentAdmitted) return this.ways.agent(row.agentId, row.workloadName, lane);
    return Promise.reject(new WorkloadRefusedError(workloadId));
  }

  private target(workloadId: string): FrontDoorTarget | undefined {
    const row = this.rows.get(workloadId);
    const key = placeOf(row);
    if (!row || key === undefined) return undefined;
    if (row.leadsTo === 'standby' && row.standbyPort !== null) {
      return { key, kind: 'tcp', host: FORWARD_HOST, port: row.standbyPort };
    }
    return { key, kind: 'tunnel', open: () => this.production(row, workloadId, 'bulk') };
  }
}

/** Where a front door leads; undefined when it is closed. */
function placeOf(row: LinkedWorkload | undefined): string | undefined {
  if (row?.leadsTo === 'production') return row.agentAdmitted ? `production ${row.agentId}` : undefined;
  if (row?.leadsTo === 'standby' && row.standbyPort !== null) return `standby ${row.standbyPort}`;
  return undefined;
}

/** What a forwarder leads to. */
function sourceOf(row: LinkedWorkload | undefined): string | undefined {
  if (!row) return undefined;
  return row.follow === 'peer' ? `peer ${row.peer?.siteId ?? ''}` : `agency ${row.agentId} ${row.agentAdmitted}`;
}
