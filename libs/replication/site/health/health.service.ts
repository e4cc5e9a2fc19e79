import { Inject, Injectable, type BeforeApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import type { StandbyHealth } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { lsnDifference, maxLsn } from '#libs/platform/postgres';
import {
  type Capacity,
  SITE_DRIVER,
  type SiteDriver,
  type SnapshotSource,
  SnapshotSources,
  type StandbyPosition,
} from '#libs/sites/site';
import { DoorCertificates } from '../certificates/door-certificates.js';
import { ArmedLeases, FrontDoors, type FrontDoorState, type LeaseState } from '../link/index.js';
import { isFresh, regionalLeads, type SourceReport, SourceReports } from '../source-reports.js';
import type { Standby } from '../standby.row.js';
import { followsSource } from '../standby.states.js';
import { Standbys } from '../standbys.service.js';
import { alarmsOf } from './alarms.js';
import { SourceHistory } from './lag.js';

const LOOK_MS = 1_000;

interface Recorded {
  readonly standby: Standby;
  readonly report: SourceReport | undefined;
  readonly lease: LeaseState;
  readonly door: FrontDoorState | null;
}

/** What was seen of a standby at earlier looks, in this process: what needs time to be known. */
interface Memory {
  readonly history: SourceHistory;
  received: string | null;
  movedAt: number;
}

/** Where the health's parts come from. */
@Injectable()
export class HealthSources {
  constructor(
    readonly standbys: Standbys,
    readonly reports: SourceReports,
    readonly leases: ArmedLeases,
    readonly doors: FrontDoors,
    readonly certificates: DoorCertificates,
  ) {}
}

/** Each standby's measured state. Unknown is null: a silent source is not a healthy one, and an idle one is not behind. */
@Injectable()
export class StandbyHealths implements SnapshotSource, OnModuleInit, BeforeApplicationShutdown {
  private readonly memories = new Map<string, Memory>();
  private latest: { readonly at: number; readonly healths: Promise<StandbyHealth[]> } | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly sources: HealthSources,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly snapshots: SnapshotSources,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  onModuleInit(): void {
    this.snapshots.register(this);
    // A stall is known by looking again and again, whether or not the control plane asks.
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
  }

  async beforeApplicationShutdown(): Promise<void> {
    clearInterval(this.timer);
    // Its failure is told to whoever asked for it: here it is only waited for, while the database still answers.
    await this.latest?.healths.catch(() => undefined);
  }

  async workloads(): Promise<Record<string, unknown>[]> {
    return (await this.all()) as unknown as Record<string, unknown>[];
  }

  /** The last look, when it is not older than the next would be. */
  all(): Promise<StandbyHealth[]> {
    const now = this.clock.monotonic();
    if (!this.latest || now - this.latest.at >= LOOK_MS) this.latest = { at: now, healths: this.measureAll() };
    return this.latest.healths;
  }

  private async look(): Promise<void> {
    try {
      await this.all();
    } catch (error) {
      this.logger.log.warn({ err: error }, 'the standbys could not be looked at');
    }
  }

  private async measureAll(): Promise<StandbyHealth[]> {
    const recorded = await this.work.run(async (tx) => {
      const standbys = await this.sources.standbys.list(tx);
      const rows: Recorded[] = [];
      for (const standby of standbys) {
        rows.push({
          standby,
          report: await this.sources.reports.of(tx, standby.workloadId),
          lease: await this.sources.leases.state(tx, standby.workloadId),
          door: await this.sources.doors.of(tx, standby.workloadId),
        });
      }
      return rows;
    });
    const present = new Set(recorded.map(({ standby }) => standby.workloadId));
    for (const workloadId of this.memories.keys()) if (!present.has(workloadId)) this.memories.delete(workloadId);
    // Without its folder the disk is not known; each standby says by itself what it lacks, and the site's snapshot fails.
    const capacity = await this.driver.capacity().catch(() => undefined);
    return Promise.all(recorded.map((row) => this.measure(row, capacity)));
  }

  private async measure(
    { standby, report, lease, door }: Recorded,
    capacity: Capacity | undefined,
  ): Promise<StandbyHealth> {
    const position = await this.position(standby);
    const memory = this.remember(standby, report, position);
    const follows = followsSource(standby.state);
    const received = maxLsn(position?.receivedLsn, position?.replayedLsn) ?? null;
    const sourceLsn = follows && isFresh(report) ? report.lsn : null;
    const behind = sourceLsn !== null && received !== null;
    const stalledSeconds = this.stalledSeconds(memory, behind ? sourceLsn : null, received);
    const uncertified = this.sources.certificates.isFailing(standby.workloadId);
    // Who is not the synchronous one is neither armed nor not.
    const leads = follows && regionalLeads(report) === (standby.role === 'regional');
    return {
      workloadId: standby.workloadId,
      tenantId: standby.tenantId,
      role: standby.role,
      state: standby.state,
      epoch: standby.epoch,
      sourceSeenAt: report?.receivedAt.toISOString() ?? null,
      sourceLsn,
      receivedLsn: received,
      replayedLsn: position?.replayedLsn ?? null,
      timeline: position?.timeline ?? null,
      bytesBehind: behind ? Math.max(0, Number(lsnDifference(sourceLsn, received))) : null,
      secondsBehind: behind ? memory.history.secondsBehind(received, this.clock.monotonic()) : null,
      armed: leads && (lease.armed || isFresh(report)) ? lease.armed : null,
      synchronousSite: report?.report.synchronousSite ?? null,
      armedSince: leads && lease.armed ? (lease.since?.toISOString() ?? null) : null,
      armedUntil: leads ? (lease.armedUntil?.toISOString() ?? null) : null,
      asynchronousSinceLsn: follows && (leads || standby.role === 'metro') ? lease.disarmedAtLsn : null,
      seeding: seedingOf(standby),
      alarms: alarmsOf({ standby, report, position, stalledSeconds, capacity, uncertified }, this.clock.now()),
      frontDoor: door && {
        host: door.host,
        port: door.port,
        leadsTo: door.leadsTo,
        authority: await this.sources.certificates.authority(standby.workloadId),
      },
    };
  }

  private async position({ workloadId, state }: Standby): Promise<StandbyPosition | undefined> {
    if (state === 'preparing' || state === 'seeding' || state === 'removing' || state === 'removed') return undefined;
    // A server that does not answer has no position; that it does not is an alarm of its own.
    return this.driver.position(workloadId).catch(() => undefined);
  }

  private remember(standby: Standby, report: SourceReport | undefined, position: StandbyPosition | undefined): Memory {
    const now = this.clock.monotonic();
    const memory = this.memories.get(standby.workloadId) ?? {
      history: new SourceHistory(),
      received: null,
      movedAt: now,
    };
    this.memories.set(standby.workloadId, memory);
    if (report?.lsn) memory.history.heard(report.lsn, now - report.ageSeconds * 1_000);
    const received = position?.receivedLsn ?? null;
    if (received !== memory.received) Object.assign(memory, { received, movedAt: now });
    return memory;
  }

  private stalledSeconds(memory: Memory, sourceLsn: string | null, received: string | null): number {
    if (sourceLsn === null || received === null || lsnDifference(sourceLsn, received) <= 0n) {
      memory.movedAt = this.clock.monotonic();
      return 0;
    }
    return (this.clock.monotonic() - memory.movedAt) / 1_000;
  }
}

function seedingOf(standby: Standby): StandbyHealth['seeding'] {
  if (standby.state !== 'seeding' || !standby.seeding) return null;
  const { bytesTotal, bytesDone, bytesTransferred, bytesPerSecond, secondsLeft, attempt } = standby.seeding;
  return { bytesTotal, bytesDone, bytesTransferred, bytesPerSecond, secondsLeft, attempt };
}
