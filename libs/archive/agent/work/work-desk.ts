import type { ArchiveWork, Progress, RepositoryAccess, WorkLook, WorkResult } from '#contracts/archive';
import type { Logger } from '#libs/platform/telemetry';
import type { AgentWorkload, StateDirectory } from '#libs/sites/agent';
import { CustomerKey } from '../customer-key.js';
import { RepositoryBusyError } from '../errors.js';
import { findRestic } from '../restic/program.js';
import { Repository } from '../restic/repository.js';
import type { ArchiveStatus, EndedWork } from './archive-status.js';
import { carryOut } from './carry-out.js';
import { failureOf, NOTHING, type Outcome } from './outcome.js';
import { WorkStore } from './work-store.js';

export interface BegunWork {
  readonly workId: string;
  readonly workloadId: string;
  readonly workload: AgentWorkload;
  readonly access: RepositoryAccess;
  readonly work: ArchiveWork;
}

interface Running {
  readonly begun: BegunWork;
  readonly ending: AbortController;
  progress: Progress | null;
  /** Until it is on the disk. */
  result: WorkResult | null;
  through: Promise<void>;
}

export interface WorkDeskParts {
  readonly state: StateDirectory;
  /** agent.json's `restic`. */
  readonly restic: string | undefined;
  /** agent.json's `restoreTo`. */
  readonly restoreTo: readonly string[];
  readonly log: Logger;
}

/**
 * The works on archives, each known by the id that its site gave it: begun once, looked at, cancelled, and forgotten when
 * the site has its result. One at a time on a repository. A result is on the disk before it is told; a work that has none
 * when the agent starts is unknown to it, and its site begins it anew.
 */
export class WorkDesk {
  private readonly works = new Map<string, Running>();
  private readonly store: WorkStore;
  /** By workload and kind, what ended last since the agent's start. */
  private readonly last = new Map<string, EndedWork>();
  private closing = false;

  constructor(private readonly parts: WorkDeskParts) {
    this.store = new WorkStore(parts.state);
  }

  /** Before the first command: ends what an agent that died has left. */
  async start(): Promise<void> {
    const { log, restic } = this.parts;
    await this.store.begin(log, () => findRestic(restic));
  }

  /** Repeating it changes nothing. @throws RepositoryBusyError */
  async begin(begun: BegunWork): Promise<void> {
    if (this.works.has(begun.workId)) return;
    for (const { begun: other, result } of this.works.values()) {
      if (result === null && other.access.repositoryId === begun.access.repositoryId) throw new RepositoryBusyError();
    }
    const running: Running = {
      begun,
      ending: new AbortController(),
      progress: null,
      result: null,
      through: Promise.resolve(),
    };
    this.works.set(begun.workId, running);
    try {
      const kept = await this.store.find(begun.workId);
      if (kept) {
        this.works.delete(begun.workId);
        return;
      }
    } catch (error) {
      this.works.delete(begun.workId);
      throw error;
    }
    running.through = this.run(running);
  }

  /** Of a work that another workload's site began, nothing is told. */
  async look(workId: string, workloadId: string): Promise<WorkLook> {
    const running = this.works.get(workId);
    if (running) {
      const { begun, progress, result } = running;
      if (begun.workloadId !== workloadId) return ABSENT;
      return result ? { state: 'ended', progress, result } : { state: 'running', progress, result: null };
    }
    const kept = await this.store.find(workId);
    if (kept?.workloadId !== workloadId) return ABSENT;
    return { state: 'ended', progress: null, result: kept.result };
  }

  /** It ends within seconds; what came of it is told by {@link look}. */
  cancel(workId: string, workloadId: string): void {
    const running = this.works.get(workId);
    if (running?.begun.workloadId === workloadId) running.ending.abort();
  }

  /** One that still runs is cancelled, and then forgotten. */
  async forget(workId: string, workloadId: string): Promise<void> {
    const running = this.works.get(workId);
    if (running) {
      if (running.begun.workloadId !== workloadId) return;
      running.ending.abort();
      await running.through;
      this.works.delete(workId);
    } else if ((await this.store.find(workId))?.workloadId !== workloadId) return;
    await this.store.forget(workId);
  }

  /** For people at the machine. */
  status(): ArchiveStatus {
    const running = [...this.works.values()]
      .filter(({ result }) => result === null)
      .map(({ begun, progress }) => ({ workload: begun.workload.name, kind: begun.work.kind, progress }));
    return { running, last: [...this.last.values()] };
  }

  /** Ends what runs, without a result: the site begins it anew. */
  async close(): Promise<void> {
    this.closing = true;
    const running = [...this.works.values()];
    for (const { ending } of running) ending.abort();
    await Promise.all(running.map(({ through }) => through));
  }

  private async run(running: Running): Promise<void> {
    const { workId, workloadId, workload, work } = running.begun;
    const { log } = this.parts;
    const startedAt = new Date().toISOString();
    const ids = { workId, workload: workload.name, kind: work.kind };
    log.info(ids, 'a work on an archive begins');
    const outcome = await this.outcomeOf(running).catch((error: unknown): Outcome => {
      if (running.ending.signal.aborted) return { ...NOTHING, state: 'cancelled' };
      log.warn({ ...ids, err: error }, 'a work on an archive failed');
      return { ...NOTHING, state: 'failed', failure: failureOf(error) };
    });
    await this.store.endWork(workId).catch((error: unknown) => {
      log.error({ ...ids, err: error }, 'what a work needed could not be removed');
    });
    if (this.closing && outcome.state === 'cancelled') return;
    const result: WorkResult = { ...outcome, startedAt, endedAt: new Date().toISOString() };
    log.info({ ...ids, state: result.state, faults: result.faultCount }, 'a work on an archive has ended');
    running.result = result;
    const { state, endedAt, faultCount, failure } = result;
    const ended = { workload: workload.name, kind: work.kind, state, endedAt, faultCount, failure };
    this.last.set(`${workload.name} ${work.kind}`, ended);
    await this.store.keep(workId, { workloadId, result }).then(
      () => this.works.delete(workId),
      // It is told from memory, for as long as there is one.
      (error: unknown) => log.error({ ...ids, err: error }, 'the result of a work could not be saved'),
    );
  }

  private async outcomeOf(running: Running): Promise<Outcome> {
    const { workId, workload, access, work } = running.begun;
    const { state, restic, restoreTo } = this.parts;
    const { signal } = running.ending;
    const program = await findRestic(restic);
    const directory = await this.store.beginWork(workId);
    const key = new CustomerKey(state, workload.name);
    const { cacheDirectory } = this.store;
    const repository = await Repository.open(
      { restic: program, access, directory, cacheDirectory, key, signal },
      { create: work.kind === 'backup' },
    );
    const at = { workload, repository, report: (progress: Progress) => (running.progress = progress) };
    return carryOut(at, work, { state, restoreTo, workId });
  }
}

const ABSENT: WorkLook = { state: 'absent', progress: null, result: null };
