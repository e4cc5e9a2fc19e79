import { Inject, Injectable } from '@nestjs/common';
import { shortened, type SiteSnapshot, SNAPSHOT_CHARACTERS_MAX } from '#contracts/sites';
import { Clock } from '#libs/platform/clock';
import { LinkedAgents } from '../agents/linked-agents.js';
import type { SiteDriver } from '../driver/index.js';
import { SiteSettings } from '../site-settings.js';
import { SITE_DRIVER, SnapshotSources } from './snapshot-sources.js';

/** A snapshot younger than this is not measured anew. */
const FRESH_MS = 900;
/** Of the JSON about one workload. */
const WORKLOAD_CHARACTERS_MAX = 32_000;

/** Puts together what the site is like now: capacity, links, workloads. */
@Injectable()
export class SiteSnapshots {
  private last: { readonly at: number; readonly snapshot: Promise<SiteSnapshot> } | undefined;

  constructor(
    private readonly settings: SiteSettings,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly agents: LinkedAgents,
    private readonly sources: SnapshotSources,
    private readonly clock: Clock,
  ) {}

  /** Several callers at once share one measurement. */
  take(): Promise<SiteSnapshot> {
    const now = this.clock.monotonic();
    if (this.last && now - this.last.at < FRESH_MS) return this.last.snapshot;
    const taken = { at: now, snapshot: this.measure() };
    this.last = taken;
    // All who share it are told of its failure; the next measures anew.
    taken.snapshot.catch(() => {
      if (this.last === taken) this.last = undefined;
    });
    return taken.snapshot;
  }

  private async measure(): Promise<SiteSnapshot> {
    const [capacity, agents, workloads] = await Promise.all([
      this.driver.capacity(),
      this.agents.list(),
      this.sources.workloads(),
    ]);
    return {
      siteId: this.settings.siteId,
      at: this.clock.now().toISOString(),
      capacity: {
        cpus: capacity.cpus,
        memoryBytes: capacity.memoryBytes,
        diskBytes: capacity.diskBytes,
        diskFreeBytes: capacity.diskFreeBytes,
      },
      agents,
      workloads: bounded(workloads),
    };
  }
}

/** So that one agency's alarms do not keep the control plane from hearing of the others. */
function bounded(workloads: readonly Record<string, unknown>[]): Record<string, unknown>[] {
  const each = Math.min(WORKLOAD_CHARACTERS_MAX, SNAPSHOT_CHARACTERS_MAX / Math.max(1, workloads.length));
  return workloads.map((workload) => shortened(workload, each));
}
