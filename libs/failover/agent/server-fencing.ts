import type { Alarm, PulseWorkload } from '#contracts/replication';
import { pause, type Clock } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import type { PostgresServer } from '#libs/platform/postgres';
import { ALARMS, type Fencing, type PulseEntry } from '#libs/replication/agent';
import type { DurableValue, PostgresWorkload } from '#libs/sites/agent';
import { closeServer, isClosed } from './closed-server.js';
import { findDivergence } from './divergence.js';
import { EMPTY_FENCING, type FencingRecord } from './fencing-record.js';
import { keepLog } from './kept-log.js';
import { endOfLog, stopServer, tellServiceManager } from './stop-server.js';

/** A site asked to fence for an epoch that is not newer than the server's own: an order from the past. */
export class EpochOutdatedError extends DomainError {
  constructor(asked: number, own: number) {
    super(
      'conflict',
      'fence.epoch-outdated',
      `The server is already of epoch ${own}; epoch ${asked} cannot fence it any more.`,
    );
  }
}

const ANSWER_MS = 950;

export interface FenceRequest {
  readonly workloadId: string;
  readonly epoch: number;
  readonly promotedAtLsn: string | null;
  readonly promotedTimeline: number | null;
}

export interface FenceAnswer {
  readonly stopped: boolean;
  /** All that the server had is before this; null when it did not end cleanly. */
  readonly lsn: string | null;
  readonly evidence: string;
}

export interface ServerFencingParts {
  readonly workload: PostgresWorkload;
  readonly server: () => Promise<PostgresServer>;
  readonly record: DurableValue<FencingRecord>;
  /** Where the divergent log is kept. */
  readonly logDirectory: string;
  readonly clock: Clock;
  /** Whoever else acknowledges writes here must stop first: the degrade receiver. */
  readonly beforeFence: () => Promise<void>;
}

/**
 * Keeps an old primary from ever writing again. The epoch of a promotion, once seen, is on the disk before anything is
 * done by it; the fence is carried out until it is known to hold, and again whenever somebody opens the server by hand
 * while a site still says the newer epoch.
 */
export class ServerFencing implements Fencing {
  private record: FencingRecord = EMPTY_FENCING;
  private carryingOut: Promise<FenceAnswer> | undefined;
  private comparing: Promise<void> | undefined;
  private confirmed = -Infinity;
  private unsaved: string | null = null;

  constructor(private readonly parts: ServerFencingParts) {}

  async begin(): Promise<void> {
    this.record = (await this.parts.record.read()) ?? EMPTY_FENCING;
  }

  /** Monotonic milliseconds at which a site last said that this server's epoch is the newest. */
  get confirmedAt(): number {
    return this.confirmed;
  }

  get epoch(): number | null {
    return this.record.confirmedEpoch;
  }

  report(): { fenced: PulseWorkload['fenced']; divergence: PulseWorkload['divergence']; alarms: readonly Alarm[] } {
    const { fenced, divergence } = this.record;
    const alarms = this.unsaved === null ? [] : [ALARMS.stateUnwritable(this.unsaved)];
    if (!fenced) return { fenced: null, divergence: null, alarms };
    const { epoch, at, evidence } = fenced;
    if (!fenced.done) alarms.push(notStopped(evidence));
    return { fenced: { epoch, at, evidence }, divergence, alarms };
  }

  async observe(entry: PulseEntry): Promise<void> {
    const { confirmedEpoch, fenced, highestSeen } = this.record;
    if (this.unsaved !== null) await this.save({});
    if (entry.epoch > (highestSeen ?? 0)) await this.save({ highestSeen: entry.epoch });
    if (fenced) {
      if (entry.epoch >= fenced.epoch) await this.uphold(entry);
      return;
    }
    // A server that no epoch was ever confirmed for may be the old one of a lost agent: the promoted site knows.
    const outdated = confirmedEpoch === null ? entry.promotedAtLsn !== null : entry.epoch > confirmedEpoch;
    if (outdated) {
      await this.fence(entry);
      return;
    }
    // A site that is held may not know the newest epoch: its word opens nothing.
    if (entry.confirms === false) return;
    if (confirmedEpoch === null) await this.save({ confirmedEpoch: entry.epoch });
    if (entry.epoch === this.record.confirmedEpoch) this.confirmed = this.parts.clock.monotonic();
  }

  /**
   * Answers within a second and goes on until the server is stopped. Repeating it answers how it stands.
   *
   * @throws EpochOutdatedError
   */
  async fence(request: FenceRequest): Promise<FenceAnswer> {
    const { fenced, confirmedEpoch } = this.record;
    if (confirmedEpoch !== null && request.epoch <= confirmedEpoch) {
      throw new EpochOutdatedError(request.epoch, confirmedEpoch);
    }
    if (!fenced || request.epoch > fenced.epoch) {
      const { epoch, workloadId, promotedAtLsn, promotedTimeline } = request;
      const at = this.parts.clock.now().toISOString();
      const evidence = 'the fence was ordered and is being carried out';
      const endLsn = fenced?.endLsn ?? null;
      const next = { epoch, at, evidence, done: false, endLsn, workloadId, promotedAtLsn, promotedTimeline };
      await this.save({ fenced: next, divergence: null, highestSeen: Math.max(epoch, this.record.highestSeen ?? 0) });
    }
    this.confirmed = -Infinity;
    return this.answerInTime();
  }

  /** The comparison that goes on in the background; for tests and an orderly end. */
  async settled(): Promise<void> {
    await this.carryingOut;
    await this.comparing;
  }

  private async uphold(entry: PulseEntry): Promise<void> {
    const { fenced } = this.record;
    if (!fenced) return;
    if (entry.promotedAtLsn !== null && entry.promotedAtLsn !== fenced.promotedAtLsn) {
      const { promotedAtLsn, promotedTimeline, epoch } = entry;
      await this.save({ fenced: { ...fenced, promotedAtLsn, promotedTimeline, epoch }, divergence: null });
    }
    if (!fenced.done || !(await isClosed(this.parts.workload.dataDirectory))) {
      await this.answerInTime();
    }
    this.compare();
  }

  /** A promotion waits a second for it, and a pulse no longer. */
  private async answerInTime(): Promise<FenceAnswer> {
    this.carryingOut ??= this.carryOut().finally(() => (this.carryingOut = undefined));
    const late = new AbortController();
    const stillStopping = { stopped: false, lsn: null, evidence: 'the server is still being stopped' };
    try {
      return await Promise.race([this.carryingOut, pause(ANSWER_MS, late.signal).then(() => stillStopping)]);
    } finally {
      late.abort();
    }
  }

  private async carryOut(): Promise<FenceAnswer> {
    const { workload } = this.parts;
    await this.parts.beforeFence();
    try {
      const server = await this.parts.server();
      // Closed before it is stopped: whoever starts it meanwhile finds it closed.
      await closeServer(server.directory, server.identity);
      const { stopped, wasRunning, control, evidence } = await stopServer(server);
      // ALTER SYSTEM may have written the file anew until the very end.
      await closeServer(server.directory, server.identity);
      const known = this.record.fenced?.endLsn ?? null;
      const lsn = stopped ? endOfLog(control, known) : null;
      // Repeated, it must not forget how the server was stopped.
      if (wasRunning || !this.record.fenced?.done) await this.note(evidence, stopped, stopped ? lsn : known);
      this.compare();
      if (stopped && workload.service?.stop) void tellServiceManager(workload.service.stop);
      return { stopped, lsn, evidence };
    } catch (error) {
      const evidence = `the server could not be fenced: ${errorText(error)}`;
      await this.note(evidence, false);
      return { stopped: false, lsn: null, evidence };
    }
  }

  private async note(evidence: string, done: boolean, endLsn?: string | null): Promise<void> {
    const { fenced } = this.record;
    if (!fenced) return;
    await this.save({ fenced: { ...fenced, evidence, done, ...(endLsn === undefined ? {} : { endLsn }) } });
  }

  /** Once it is known where the promoted timeline began: which transactions only this server has. */
  private compare(): void {
    const { fenced, divergence } = this.record;
    if (!fenced?.done || !fenced.promotedAtLsn || divergence || this.comparing) return;
    const { workloadId, epoch, promotedAtLsn: forkedAtLsn } = fenced;
    this.comparing = (async () => {
      const server = await this.parts.server();
      await keepLog(server, forkedAtLsn, this.parts.logDirectory);
      const found = await findDivergence(server, { workloadId, epoch, forkedAtLsn });
      if (this.record.fenced?.promotedAtLsn === forkedAtLsn) await this.save({ divergence: found });
    })()
      .catch(async (error: unknown) => {
        const now = this.record.fenced;
        if (now) await this.note(`${now.evidence}; its log could not be compared yet: ${errorText(error)}`, true);
      })
      .finally(() => (this.comparing = undefined));
  }

  /**
   * A disk that is full must not keep a server from being fenced: what cannot be written down is done all the same, and
   * written as soon as there is room.
   */
  private async save(change: Partial<FencingRecord>): Promise<void> {
    this.record = { ...this.record, ...change };
    this.unsaved = await this.parts.record.write(this.record).then(
      () => null,
      (error: unknown) => errorText(error),
    );
  }
}

function notStopped(evidence: string): Alarm {
  return {
    code: 'fence.not-stopped',
    what: `A warm site has taken over, and the agency's old server may still be running: ${evidence}.`,
    remedy: 'Stop it by hand, or switch the machine off. Do not let anybody write to it: those writes would be lost.',
  };
}
