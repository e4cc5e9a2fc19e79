import { Injectable } from '@nestjs/common';
import type { WorkLook, WorkResult } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { type SiteTransaction, SiteUnitOfWork } from '#libs/platform/database';
import { DomainError, errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { AgentRefusedError, AgentUnreachableError } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { failureOf } from '../archives.errors.js';
import { Archives } from '../archives.service.js';
import { AgentWorks } from './agent-works.js';
import { isNext, type WorkKindOf } from './work-kind.js';
import { changeWork, findWork, isOver, type WorkChange, type WorkRow } from './work.row.js';

/** An agent that was silent for so long leaves its work "unknown". */
const SILENT_MS = 60_000;
/** So often an agent is told to begin one work: it may be restarted in the midst of it, but not for ever. */
const BEGUN_MAX = 5;
/** Progress is told not more often. */
const TOLD_MS = 2_000;
/** A credential is prolonged not with every look, but so often. */
const PROLONGED_MS = 3_600_000;

/** An agent's word that its last work on the repository is not over yet: another one waits. */
const BUSY = 'archive.busy';

/**
 * Brings one work of an agent's forward by one step, from wherever its row says it is; a sweep calls it every few seconds.
 * Every step can be repeated: the agent knows its works by id, and what it has lost is begun anew.
 */
@Injectable()
export class WorkEngine {
  private readonly driving = new Set<string>();
  private readonly told = new Map<string, number>();
  private readonly prolonged = new Map<string, number>();
  /** Works that were ended only to be begun anew with another bandwidth. */
  private readonly paced = new Set<string>();
  /** When a work that the agent did not take was offered last, by the monotonic clock. */
  private readonly offered = new Map<string, number>();

  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly agents: AgentWorks,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  async advance<R extends WorkRow>(kind: WorkKindOf<R>, workId: string, signal: AbortSignal): Promise<void> {
    if (this.driving.has(workId)) return;
    this.driving.add(workId);
    try {
      const found = await this.work.run(async (tx) => {
        const row = await findWork(tx, kind.table, workId);
        return row && { row, archive: await this.archives.get(tx, row.archiveId) };
      });
      if (!found) return;
      if (isOver(found.row.state)) await this.tidy(kind, found.archive, found.row);
      else await this.step(kind, found.archive, found.row, signal);
    } finally {
      this.driving.delete(workId);
    }
  }

  private async step<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    signal: AbortSignal,
  ): Promise<void> {
    if (row.state === 'waiting' && (row.cancelWanted || archive.state === 'ended')) {
      return this.end(kind, archive, row, { state: 'cancelled' });
    }
    if (archive.state === 'preparing' || archive.state === 'failed') return;
    let seen: WorkLook;
    try {
      seen = await this.agents.look(archive, row.workId, signal);
    } catch (error) {
      if (!(error instanceof AgentUnreachableError || error instanceof AgentRefusedError)) throw error;
      return this.silent(kind, archive, row, error);
    }
    const taken = row.state === 'waiting' ? await this.take(kind, archive, row) : row;
    if (!taken) return;
    if (seen.state === 'ended' && seen.result) return this.takeIn(kind, archive, taken, seen.result);
    if (seen.state === 'running') return this.running(kind, archive, taken, seen);
    if (taken.cancelWanted) return this.end(kind, archive, taken, { state: 'cancelled' });
    await this.begin(kind, archive, taken, signal);
  }

  /** Its turn comes when the repository is free. */
  private take<R extends WorkRow>(kind: WorkKindOf<R>, archive: ArchiveRow, row: R): Promise<R | undefined> {
    return this.work.run(async (tx) => {
      if (!(await isNext(tx, kind, row))) return undefined;
      if (!(await this.archives.takeIn(tx, archive.archiveId, kind.kind, row.workId, null))) return undefined;
      const taken = await changeWork(tx, kind.table, row, {
        state: 'running',
        startedAt: this.clock.now(),
        failure: null,
      });
      // Rolled back with the claim on the repository.
      if (!taken) throw new Error(`${row.workId} was changed by somebody else`);
      await kind.tell(tx, archive, taken);
      return taken;
    });
  }

  /** The credential is written down before the agent has it: whatever dies, it is ended. */
  private async begin<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    signal: AbortSignal,
  ): Promise<void> {
    if (row.begun >= BEGUN_MAX) {
      const failure = row.failure ?? {
        code: 'archive.given-up',
        message: `The agent was told to begin ${BEGUN_MAX} times, and lost the work each time. Look at its log.`,
      };
      return this.end(kind, archive, row, { state: 'failed', failure });
    }
    if (this.waits(row)) return;
    await kind.prepare(archive);
    const credential = await this.agents.credential(archive.archiveId, kind.role(archive));
    const begun = await this.work.run(async (tx) => {
      const wanted = await kind.work(tx, archive, row);
      const change = { begun: row.begun + 1, begunLimit: kind.limit(archive), credentialId: credential.credentialId };
      const changed = await changeWork(tx, kind.table, row, { ...change, state: 'running' });
      return changed && { wanted, row: changed };
    });
    if (row.credentialId !== null) await this.agents.end(row.credentialId);
    if (!begun) return this.agents.end(credential.credentialId);
    try {
      await this.agents.begin(archive, row.workId, begun.wanted, credential, signal);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      // It may have been begun all the same: the next look says so.
      this.logger.log.info({ workId: row.workId, code: error.code, detail: error.detail }, 'a work was not begun');
      this.offered.set(row.workId, this.clock.monotonic());
      const busy = error.code === BUSY ? { begun: row.begun } : {};
      await this.note(kind, archive, begun.row, { ...busy, failure: failureOf(error) });
    }
  }

  private async running<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    seen: WorkLook,
  ): Promise<void> {
    const now = this.clock.now();
    await this.prolong(row);
    const current = await this.work.run(async (tx) => {
      const changed = await changeWork(tx, kind.table, row, {
        state: 'running',
        seenAt: now,
        failure: null,
        ...(seen.progress ? { progress: seen.progress } : {}),
      });
      const moved = JSON.stringify(row.progress) !== JSON.stringify(seen.progress);
      if (changed && (row.state !== 'running' || (moved && this.mayTell(row.workId)))) {
        await kind.tell(tx, archive, changed);
      }
      return changed;
    });
    if (!current) return;
    const otherLimit = kind.limit(archive) !== current.begunLimit;
    if (!current.cancelWanted && !otherLimit) return;
    // restic cannot change its limit: the work is ended, and begun anew with the other one. What was stored stays.
    if (!current.cancelWanted) this.paced.add(row.workId);
    await this.agents.cancel(archive, row.workId);
  }

  private async silent<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    error: DomainError,
  ): Promise<void> {
    // Nobody waits for the agent's word: what it may still be doing, it does without a credential.
    if (row.cancelWanted) return this.end(kind, archive, row, { state: 'cancelled' });
    const heard = row.seenAt ?? row.startedAt;
    const long = heard !== null && this.clock.now().getTime() - heard.getTime() > SILENT_MS;
    const silent = row.state === 'running' && long;
    if (!silent && row.failure?.code === error.code) return;
    await this.note(kind, archive, row, { failure: failureOf(error), ...(silent ? { state: 'unknown' } : {}) });
  }

  /** Writes down, and tells, why it does not go on for now. */
  private async note<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    change: WorkChange,
  ): Promise<void> {
    await this.work.run(async (tx) => {
      const changed = await changeWork(tx, kind.table, row, change);
      if (changed) await kind.tell(tx, archive, changed);
    });
  }

  /** What the agent did not take is offered again after a while, longer each time. */
  private waits({ workId, begun }: WorkRow): boolean {
    const last = this.offered.get(workId);
    return last !== undefined && this.clock.monotonic() - last < 1_000 * 2 ** begun;
  }

  private async takeIn<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    result: WorkResult,
  ): Promise<void> {
    if (result.state === 'cancelled' && !row.cancelWanted) {
      // For another bandwidth, or the agent was stopped: once it has forgotten this, the next look finds nothing.
      await this.agents.forget(archive, row.workId);
      if (this.paced.delete(row.workId)) await this.change(kind, row, { begun: Math.max(0, row.begun - 1) });
      return;
    }
    await this.end(kind, archive, row, (tx) => kind.judge(tx, archive, row, result));
  }

  /** All that follows from an end is written with it; what is left to do outside comes after the commit. */
  private async end<R extends WorkRow>(
    kind: WorkKindOf<R>,
    archive: ArchiveRow,
    row: R,
    how: WorkChange | ((tx: SiteTransaction) => Promise<WorkChange>),
  ): Promise<void> {
    await kind.prepare(archive);
    const ended = await this.work.run(async (tx) => {
      const change = typeof how === 'function' ? await how(tx) : how;
      const changed = await changeWork(tx, kind.table, row, { endedAt: this.clock.now(), ...change });
      if (!changed) return undefined;
      await kind.tell(tx, archive, changed);
      await kind.ended(tx, archive, changed);
      await this.archives.releaseIn(tx, archive.archiveId, row.workId);
      await this.archives.tell(tx, archive.archiveId);
      return changed;
    });
    for (const memory of [this.told, this.offered, this.paced]) memory.delete(row.workId);
    if (ended) await this.tidy(kind, archive, ended);
  }

  /** The credential opens nothing any more, and the agent may forget. A sweep comes back to it until both are done. */
  private async tidy<R extends WorkRow>(kind: WorkKindOf<R>, archive: ArchiveRow, row: R): Promise<void> {
    if (row.credentialId === null) return;
    await this.agents.end(row.credentialId);
    this.prolonged.delete(row.credentialId);
    try {
      await this.agents.forget(archive, row.workId);
    } catch (error) {
      if (error instanceof AgentUnreachableError) return;
      if (!(error instanceof AgentRefusedError)) throw error;
      // It has no such work, or this workload no more.
      this.logger.log.debug({ workId: row.workId, reason: errorText(error) }, 'an agent forgets nothing');
    }
    await this.change(kind, row, { credentialId: null });
  }

  private async change<R extends WorkRow>(kind: WorkKindOf<R>, row: R, change: WorkChange): Promise<void> {
    await this.work.run((tx) => changeWork(tx, kind.table, row, change));
  }

  private async prolong({ credentialId }: WorkRow): Promise<void> {
    if (credentialId === null) return;
    const last = this.prolonged.get(credentialId);
    const now = this.clock.monotonic();
    if (last !== undefined && now - last < PROLONGED_MS) return;
    this.prolonged.set(credentialId, now);
    await this.agents.prolong(credentialId);
  }

  private mayTell(workId: string): boolean {
    const now = this.clock.monotonic();
    if (now - (this.told.get(workId) ?? -Infinity) < TOLD_MS) return false;
    this.told.set(workId, now);
    return true;
  }
}
