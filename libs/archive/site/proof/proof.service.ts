import { Injectable } from '@nestjs/common';
import type { Proof } from '#contracts/archive';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { Archives } from '../archives.service.js';
import type { PointRow } from '../points/points.service.js';
import { Readers } from '../retention/readers.js';
import { NotLoadableError } from './dump-proof.js';
import { ProofQueue } from './proof-queue.js';
import { NoRoomError } from './proof-scratch.js';
import { ProofWorks } from './proof-works.js';

/** A proof that takes longer is given up, and counts as a try: something hangs, or the site is too slow for it. */
const LONGEST_HOURS = 12;
const longest = (): AbortSignal => AbortSignal.timeout(LONGEST_HOURS * 3_600_000);

/** Proves recovery points by restoring them: one at a time, so that backups are not kept from the disk and the processor. */
@Injectable()
export class ProofService {
  private busy = false;

  constructor(
    private readonly queue: ProofQueue,
    private readonly archives: Archives,
    private readonly readers: Readers,
    private readonly works: ProofWorks,
    private readonly work: SiteUnitOfWork,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Proves the next point, if there is one and no proof is under way.
   *
   * @param over aborted when the proof has taken too long
   * @returns whether there was one
   */
  async proveNext(signal: AbortSignal, over = longest()): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    try {
      const point = await this.queue.take();
      if (!point) return false;
      await this.prove(point, signal, over);
      return true;
    } finally {
      this.busy = false;
    }
  }

  private async prove(point: PointRow, stopped: AbortSignal, over: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([stopped, over]);
    const { archiveId } = point;
    const at = this.clock.now().toISOString();
    const nothing = { at, seconds: null, checks: [], failure: null };
    try {
      const archive = await this.work.run((tx) => this.archives.get(tx, archiveId));
      const proven = await this.readers.read(archiveId, () => this.works.prove(archive, point, signal));
      if (!proven) {
        await this.queue.settle(point, { ...nothing, state: 'never', failure: PRUNED }, UNCOUNTED);
        return;
      }
      const { checks, seconds, rowCounts, seen } = proven;
      const missed = checks.find(({ passed }) => !passed);
      const failure = missed
        ? { code: 'proof.check', message: `The check "${missed.name}" did not pass: ${missed.found}` }
        : null;
      const state = missed ? 'failed' : 'proven';
      await this.queue.settle(
        point,
        { state, at, seconds, checks: [...checks], failure, ...seen },
        { counted: true, rowCounts },
      );
    } catch (error) {
      if (stopped.aborted) {
        await this.queue.settle(point, { ...nothing, state: 'never', at: null }, UNCOUNTED);
        throw error;
      }
      this.logger.log.warn({ err: error, archiveId, snapshotId: point.snapshotId }, 'a proof failed');
      if (over.aborted) {
        const proof = { ...nothing, state: 'failed', failure: TOO_LONG } as const;
        await this.queue.settle(point, proof, { ...UNCOUNTED, counted: true });
        return;
      }
      await this.queue.settle(
        point,
        { ...nothing, ...verdictOf(error) },
        { ...UNCOUNTED, counted: !(error instanceof NoRoomError) },
      );
    }
  }
}

const UNCOUNTED = { counted: false, rowCounts: null } as const;
const PRUNED = { code: 'proof.pruned', message: 'The repository is being pruned. It is tried again.' };
const TOO_LONG = {
  code: 'proof.too-long',
  message: `The restore and its checks had not ended after ${LONGEST_HOURS} hours, which is as long as they may take. They are tried again later, three times at most.`,
};

function verdictOf(error: unknown): Pick<Proof, 'state' | 'failure'> {
  const known = error instanceof DomainError;
  const failure = {
    code: known ? error.code : 'proof.failed',
    message: (known ? error.message : 'Something went wrong on our side. It is tried again.').slice(0, 2_000),
  };
  if (error instanceof NoRoomError) return { state: 'never', failure };
  return { state: error instanceof NotLoadableError ? 'not-possible' : 'failed', failure };
}
