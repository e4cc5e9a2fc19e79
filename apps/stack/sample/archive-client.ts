import { waitFor } from '#libs/platform/clock';
import type { RestClient } from '../rest-client.js';

export interface ArchiveView {
  readonly id: string;
  readonly state: string;
  readonly retentionInWords: string;
  readonly keyModeMeans: string;
  readonly failure: { readonly message: string } | null;
  readonly copy: {
    readonly completeUntil: string | null;
    readonly missingObjects: number | null;
    readonly failure: { readonly message: string } | null;
  } | null;
}

export interface ArchiveRunView {
  readonly id: string;
  readonly state: string;
  readonly summary: { readonly bytesProcessed: number; readonly bytesAddedPacked: number } | null;
  readonly faultCount: number;
  readonly failure: { readonly message: string } | null;
}

export interface PointView {
  readonly id: string;
  readonly part: string | null;
  readonly receivedAt: string;
  readonly files: number | null;
  readonly bytes: number | null;
  readonly change: { readonly filesChanged: number; readonly filesRemoved: number | null } | null;
  readonly proof: {
    readonly state: string;
    readonly seconds: number | null;
    readonly failure: { message: string } | null;
  };
}

export interface RestoreView {
  readonly id: string;
  readonly state: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly filesRestored: number;
  readonly filesSkipped: number;
  readonly faultCount: number;
  readonly failure: { readonly message: string } | null;
}

export const RETENTION = 'hourly for a day, daily for a month, monthly for seven years';

/** What a technician's scripts ask of the API about archives, one method per sentence. */
export class ArchiveClient {
  constructor(readonly rest: RestClient) {}

  async filesWorkload(workload: { agentId: string; functionId: string; name: string }): Promise<string> {
    const { id } = await this.rest.post<{ id: string }>('/v1/workloads', { ...workload, kind: 'files' });
    return id;
  }

  /**
   * Archives a workload every hour with the provider's proof, and waits until it is ready.
   *
   * @param secondSiteId where a second copy is kept
   */
  async archive(workloadId: string, secondSiteId: string | null = null): Promise<ArchiveView> {
    const { id } = await this.rest.post<{ id: string }>('/v1/archives', {
      workloadId,
      keyMode: 'escrowed',
      schedule: { every: 'hour' },
      retention: RETENTION,
      ...(secondSiteId === null ? {} : { secondSiteId }),
    });
    return this.until(
      `the archive ${id} to be ready`,
      `/v1/archives/${id}`,
      (archive: ArchiveView) => archive.state === 'active',
      ({ state, failure }) => `${state} ${failure?.message ?? ''}`,
    );
  }

  /** Waits until the second copy has every recovery point up to this instant. */
  copied(archiveId: string, until: string): Promise<ArchiveView> {
    return this.until(
      'the second copy to be complete',
      `/v1/archives/${archiveId}`,
      ({ copy }: ArchiveView) => copy?.missingObjects === 0 && (copy.completeUntil ?? '') >= until,
      ({ copy }) => `${copy?.missingObjects ?? 'an unknown number of'} objects missing ${copy?.failure?.message ?? ''}`,
    );
  }

  /** A new archive begins its first run by itself: waits for its end. */
  async firstRun(archiveId: string): Promise<ArchiveRunView> {
    const { items } = await this.until(
      'the first run to begin',
      `/v1/archives/${archiveId}/runs`,
      ({ items }: { items: readonly ArchiveRunView[] }) => items.length > 0,
      () => 'no run',
    );
    return this.ended(archiveId, items.at(-1)?.id ?? '');
  }

  /** Has a run begin now, and waits for its end. */
  async run(archiveId: string): Promise<ArchiveRunView> {
    const { id } = await this.rest.post<{ id: string }>(`/v1/archives/${archiveId}/runs`);
    return this.ended(archiveId, id);
  }

  private ended(archiveId: string, runId: string): Promise<ArchiveRunView> {
    return this.until(
      'the run to end',
      `/v1/archives/${archiveId}/runs/${runId}`,
      ({ state }: ArchiveRunView) => ['completed', 'partial', 'failed', 'cancelled'].includes(state),
      ({ state, failure }) => `${state} ${failure?.message ?? ''}`,
    );
  }

  /** The newest first. @param before an instant: received before it */
  async points(archiveId: string, before?: string): Promise<PointView[]> {
    const query = before === undefined ? '' : `?before=${encodeURIComponent(before)}`;
    const { items } = await this.rest.get<{ items: PointView[] }>(`/v1/archives/${archiveId}/recovery-points${query}`);
    return items;
  }

  async folder(pointId: string, path: string): Promise<string[]> {
    const at = `/v1/recovery-points/${pointId}/tree?path=${encodeURIComponent(path)}&limit=100`;
    const { items } = await this.rest.get<{ items: { name: string }[] }>(at);
    return items.map(({ name }) => name);
  }

  /** Waits until the provider has restored this point by itself and found it whole. */
  proven(pointId: string): Promise<PointView> {
    return this.until(
      'the recovery point to be proven',
      `/v1/recovery-points/${pointId}`,
      ({ proof }: PointView) => proof.state === 'proven' || proof.state === 'failed',
      ({ proof }) => `${proof.state} ${proof.failure?.message ?? ''}`,
    );
  }

  /** Brings files and folders back to where they were, replacing those that differ. */
  async restore(recoveryPointId: string, paths: readonly string[]): Promise<RestoreView> {
    const { id } = await this.rest.post<{ id: string }>('/v1/restores', {
      recoveryPointId,
      paths,
      target: { kind: 'original' },
      overwrite: 'if-changed',
    });
    return this.until(
      'the restore to end',
      `/v1/restores/${id}`,
      ({ state }: RestoreView) => ['completed', 'partial', 'failed', 'cancelled'].includes(state),
      ({ state, failure }) => `${state} ${failure?.message ?? ''}`,
    );
  }

  private async until<T>(
    what: string,
    path: string,
    fits: (view: T) => boolean,
    describe: (view: T) => string,
  ): Promise<T> {
    let last = 'nothing';
    const look = async (): Promise<{ readonly view: T } | undefined> => {
      const view = await this.rest.get<T>(path);
      last = describe(view);
      return fits(view) ? { view } : undefined;
    };
    try {
      return (await waitFor(what, look, { timeoutMs: 120_000, everyMs: 100 })).view;
    } catch (cause) {
      throw new Error(`waited in vain for ${what}; last it was ${last}`, { cause });
    }
  }
}
