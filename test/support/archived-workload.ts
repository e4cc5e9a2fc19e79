import { createHash, randomUUID } from 'node:crypto';
import {
  type ArchiveReport,
  archiveResult,
  ensureArchiveOrder,
  massChangeResult,
  type MassChangeReport,
  pointResult,
  type PointReport,
  type RunReport,
  runResult,
} from '#contracts/archive';
import type { ResultContract } from '#contracts/sites';
import type { AnsweredBody, TestAgency } from './api.js';
import type { ControlPlane, EnrolledAgent } from './control-plane.js';
import type { ScriptedSite } from './scripted-site.js';

/** An archive as an agency made it, whose site's words a test decides. */
export class ArchivedWorkload {
  private constructor(
    readonly plane: ControlPlane,
    readonly agency: TestAgency,
    readonly agent: EnrolledAgent,
    readonly workloadId: string,
    readonly id: string,
    readonly site: ScriptedSite,
  ) {}

  static async make(
    plane: ControlPlane,
    wanted: Record<string, unknown> = {},
    kind: 'files' | 'postgresql' | 'command' = 'files',
    agency?: TestAgency,
  ): Promise<ArchivedWorkload> {
    const owner = agency ?? (await plane.api.agency());
    const agent = await plane.enrol(owner);
    const made = await plane.api.post(
      '/v1/workloads',
      { kind, name: `share-${randomUUID().slice(0, 8)}`, agentId: agent.id },
      owner.apiKey,
    );
    if (made.status !== 201) throw new Error(JSON.stringify(made.body));
    const body = { workloadId: made.body.id, keyMode: 'escrowed', siteId: plane.metro.id, ...wanted };
    const archived = await plane.api.post('/v1/archives', body, owner.apiKey);
    if (archived.status !== 202) throw new Error(JSON.stringify(archived.body));
    await plane.metro.ordered(ensureArchiveOrder, ({ archiveId }) => archiveId === archived.body.id);
    return new ArchivedWorkload(plane, owner, agent, made.body.id, archived.body.id, plane.metro);
  }

  get path(): string {
    return `/v1/archives/${this.id}`;
  }

  get ref(): { archiveId: string; workloadId: string } {
    return { archiveId: this.id, workloadId: this.workloadId };
  }

  say<P>(contract: ResultContract<P>, payload: P): void {
    this.site.say(contract, payload, { tenantId: this.agency.id });
  }

  state(change: Partial<ArchiveReport> = {}): void {
    this.say(archiveResult, {
      ...this.ref,
      state: 'active',
      failure: null,
      storedBytes: 1_000,
      nextRunAt: null,
      retentionPaused: null,
      copy: null,
      checkedShare: null,
      damaged: [],
      keysRotatedAt: null,
      ...change,
    });
  }

  run(change: Partial<RunReport> = {}): RunReport {
    const run: RunReport = {
      ...this.ref,
      runId: randomUUID(),
      cause: 'schedule',
      state: 'running',
      dueAt: new Date().toISOString(),
      startedAt: new Date().toISOString(),
      endedAt: null,
      progress: null,
      summary: null,
      snapshotIds: [],
      faultCount: 0,
      faults: [],
      failure: null,
      ...change,
    };
    this.say(runResult, run);
    return run;
  }

  point(change: Partial<PointReport> = {}): PointReport {
    const at = new Date().toISOString();
    const point: PointReport = {
      ...this.ref,
      snapshotId: createHash('sha256').update(randomUUID()).digest('hex'),
      runId: null,
      part: null,
      receivedAt: at,
      claimedAt: at,
      clockDiffers: false,
      files: 1_200,
      bytes: 5_000_000,
      bytesAddedPacked: 60_000,
      change: { filesNew: 3, filesChanged: 2, filesRemoved: 1 },
      proof: { state: 'never', at: null, seconds: null, checks: [], failure: null },
      heldBecause: null,
      pinned: false,
      forgottenAt: null,
      forgottenBecause: null,
      ...change,
    };
    this.say(pointResult, point);
    return point;
  }

  /** A recovery point as the API knows it, with its path. */
  async kept(change: Partial<PointReport> = {}): Promise<{ id: string; path: string; said: PointReport }> {
    const said = this.point(change);
    const { items } = await this.plane.until(`${this.path}/recovery-points`, this.agency.apiKey, (body) =>
      body.items?.some(({ snapshotId }) => snapshotId === said.snapshotId),
    );
    const { id } = items.find(({ snapshotId }) => snapshotId === said.snapshotId)!;
    return { id, path: `/v1/recovery-points/${id}`, said };
  }

  massChange(change: Partial<MassChangeReport> = {}): MassChangeReport {
    const report: MassChangeReport = {
      ...this.ref,
      changeId: randomUUID(),
      runId: null,
      state: 'suspected',
      at: new Date().toISOString(),
      signals: [
        {
          signal: 'deletions',
          value: 900,
          usual: 3,
          limit: 60,
          what: '900 files were removed; usual are 3, at most 60',
        },
        { signal: 'entropy', value: 0.99, usual: 0.4, limit: 0.8, what: 'What was added hardly compresses' },
      ],
      paths: ['/srv/share/permits.xlsx'],
      lastGood: null,
      ...change,
    };
    this.say(massChangeResult, report);
    return report;
  }

  /** The agency's notice of this kind about this archive, once it is there. */
  async notice(kind: string): Promise<{ title: string; text: string; severity: string; repeats: number }> {
    const mine = (one: AnsweredBody) => one.kind === kind && one.subjectIds.archiveId === this.id;
    const { items } = await this.plane.until('/v1/notices', this.agency.apiKey, (body) => body.items?.some(mine));
    return items.find(mine)!;
  }

  /** What the audit log has of this archive, oldest first. */
  async audited(): Promise<string[]> {
    const { body } = await this.plane.api.get(`/v1/audit?subjectId=${this.id}`, this.agency.apiKey);
    return body.items.map(({ action }) => action).reverse();
  }
}
