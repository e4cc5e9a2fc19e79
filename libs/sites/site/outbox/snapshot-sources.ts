import { Injectable } from '@nestjs/common';

/** Measured state of this site's workloads, as the owning domain's contract has it. */
export interface SnapshotSource {
  workloads(): Promise<Record<string, unknown>[]>;
}

/** Where domains register what goes into the snapshot beside the results (in their `onModuleInit`). */
@Injectable()
export class SnapshotSources {
  private readonly sources: SnapshotSource[] = [];

  register(source: SnapshotSource): void {
    this.sources.push(source);
  }

  async workloads(): Promise<Record<string, unknown>[]> {
    const parts = await Promise.all(this.sources.map((source) => source.workloads()));
    return parts.flat();
  }
}

/** Answers how ready a workload is to be promoted here; failover provides it, apps/site serves it. */
export interface OutlookSource {
  /**
   * `known.noDegradeGranted`: the control plane has granted no degrading in this epoch, as a declaration's order would
   * say. With it a strict workload whose lease merely ran out loses nothing; without it nobody knows.
   *
   * @throws NotFoundError when this site has no such workload.
   */
  outlook(workloadId: string, known: { readonly noDegradeGranted: boolean }): Promise<unknown>;
}
export const OUTLOOK_SOURCE = Symbol('outlook source');

/** The token under which apps/site provides the driver that runs standbys. */
export const SITE_DRIVER = Symbol('site driver');
