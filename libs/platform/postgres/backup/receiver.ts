import { readFile } from 'node:fs/promises';
import { ifPresent } from '../../errors/index.js';
import { serverIdentity, type ServerIdentity } from '../identity.js';
import { BandwidthLimit } from './bandwidth.js';
import { planBatches } from './batches.js';
import { BatchCopier } from './copier.js';
import { BackupRefusedError, isSessionLost } from './errors.js';
import { belongsToBackup, liesInBackup } from './layout.js';
import { ProgressMeter, type BackupProgress } from './progress.js';
import { Receipt, type ReceiptRecord } from './receipt.js';
import { BackupTarget, placeTablespaces } from './target.js';
import {
  BLOCK_BYTES,
  type BackupEntry,
  type BackupSession,
  type BackupTablespace,
  type BackupTransport,
} from './wire.js';

export interface ReceiveOptions {
  readonly transport: BackupTransport;
  /** Whose the copy is, {@link serverIdentity} when left out. No other user may change names in the directories above. */
  readonly owner?: ServerIdentity;
  /** The data directory: made when missing; an old standby's is used again block by block. */
  readonly directory: string;
  /** Outside of the data directory: what is in place, for going on after a cut. */
  readonly stateDirectory: string;
  /** Names this receiver at the source. */
  readonly label: string;
  /** Where a tablespace is to lie here. Without it, a source with tablespaces is refused. */
  readonly tablespaceDirectory?: (tablespace: BackupTablespace) => Promise<string>;
  readonly bandwidthBytesPerSecond?: number;
  /** Requests under way at once; 4 when left out. */
  readonly parallel?: number;
  /** zstd on the line; on when left out. */
  readonly compress?: boolean;
  readonly signal?: AbortSignal;
  /** Called some times a second, and once at the end. */
  readonly onProgress?: (progress: BackupProgress) => void;
  /** False skips fsync: only for copies that may be lost, as in tests. */
  readonly sync?: boolean;
}

const SESSIONS_MAX = 5;
const BATCH_BYTES = 8 * 1024 * 1024;
const PROGRESS_EVERY_MS = 250;

/**
 * Copies a cluster's data directory from a source, in pieces. When the line is cut or this process is killed, calling
 * {@link receive} again goes on where it stopped; when the source was restarted, blocks that are here already are found
 * by their hashes. The result holds no configuration: write it, and standby.signal, before a server starts.
 */
export class BackupReceiver {
  private readonly receipt: Receipt;
  private readonly limit: BandwidthLimit;

  constructor(private readonly options: ReceiveOptions) {
    this.receipt = new Receipt(options.stateDirectory);
    this.limit = new BandwidthLimit(options.bandwidthBytesPerSecond);
  }

  /**
   * Answers once the copy is whole and on disk, at once when it already was; it stays so until {@link forget}.
   *
   * @throws the transport's errors (call again), BackupRefusedError (do not), the signal's reason.
   */
  async receive(): Promise<BackupSession> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.attempt();
      } catch (error) {
        if (!isSessionLost(error) || attempt >= SESSIONS_MAX) throw error;
      }
    }
  }

  /** Forgets that the copy is complete: the next {@link receive} brings the directory up to date. */
  forget(): Promise<void> {
    return this.receipt.forget();
  }

  private async attempt(): Promise<BackupSession> {
    const { signal, label, transport } = this.options;
    const former = await this.receipt.load();
    if (former?.complete) return former.session;
    const bootId = await readBootId();
    const resumable = former !== undefined && former.bootId === bootId;
    const owner = this.options.owner ?? (await serverIdentity());
    const target = new BackupTarget(this.options.directory, owner, this.options.sync ?? true);
    if (!resumable || !former.finish) await target.begin();
    if (resumable && former.finish) {
      target.place(await this.places(former.session));
      return this.complete(former, target);
    }
    const session = await transport.begin({ label, sessionId: resumable ? former.session.sessionId : null }, signal);
    const kept =
      resumable && session.sessionId === former.session.sessionId ? await this.receipt.manifest() : undefined;
    const goesOn = kept?.every(({ path, kind }) => belongsToBackup(path, kind)) ?? false;
    const record = former && goesOn ? former : await this.receipt.restart(session, bootId, former);
    const entries = kept && goesOn ? kept : await this.fetchManifest(record);
    target.place(await this.places(session));
    await target.arrange(entries);
    const transferred = await this.copy(record, entries, target, !goesOn);
    const finish = await transport.finish({ sessionId: session.sessionId }, signal);
    const finished = await this.receipt.saveFinish({ ...record, bytesTransferred: transferred }, finish);
    const result = await this.complete(finished, target);
    // Only a courtesy: an idle session runs out by itself.
    await transport.end({ sessionId: session.sessionId }).catch(() => undefined);
    return result;
  }

  private places(session: BackupSession): Promise<Map<number, string>> {
    return placeTablespaces(session.tablespaces, this.options.tablespaceDirectory);
  }

  private async complete(record: ReceiptRecord, target: BackupTarget): Promise<BackupSession> {
    if (!record.finish) throw new Error('the backup is not finished');
    const entries = (await this.receipt.manifest()) ?? [];
    await target.complete(entries, record.finish.backupLabel, Buffer.from(record.finish.controlFile, 'base64'));
    await this.receipt.save({ ...record, complete: true });
    return record.session;
  }

  private async fetchManifest(record: ReceiptRecord): Promise<BackupEntry[]> {
    const entries: BackupEntry[] = [];
    const { sessionId } = record.session;
    for (let from: number | null = 0; from !== null;) {
      const page = await this.options.transport.manifest({ sessionId, from }, this.options.signal);
      for (const entry of page.entries) {
        if (belongsToBackup(entry.path, entry.kind)) entries.push(entry);
        else if (entry.kind === 'file' && !liesInBackup(entry.path)) {
          throw new BackupRefusedError('The source offers a file that is no part of a backup.', { detail: entry.path });
        }
      }
      if (page.next !== null && page.next <= from) throw new Error('the manifest does not go on');
      from = page.next;
    }
    await this.receipt.saveManifest(entries);
    // Only now: a session without its manifest is nothing to go on with.
    await this.receipt.save(record);
    return entries;
  }

  private async copy(
    record: ReceiptRecord,
    entries: readonly BackupEntry[],
    target: BackupTarget,
    reuse: boolean,
  ): Promise<number> {
    const done = await this.receipt.done();
    const total = entries.reduce((sum, entry) => sum + entry.size, 0);
    const inPlace = done.reduce((sum, range) => sum + range.length, 0);
    const meter = new ProgressMeter(record.startedAt, total, inPlace, record.bytesTransferred);
    const { transport, bandwidthBytesPerSecond, compress, onProgress } = this.options;
    const stopper = new AbortController();
    const signal = this.options.signal ? AbortSignal.any([this.options.signal, stopper.signal]) : stopper.signal;
    const copier = new BatchCopier({
      transport,
      sessionId: record.session.sessionId,
      entries,
      target,
      limit: this.limit,
      meter,
      compress: compress ?? true,
      signal,
    });
    const batches = planBatches(entries, done, batchBytes(bandwidthBytesPerSecond));
    const work = async () => {
      for (const batch of batches) {
        await copier.copy(batch, reuse);
        await this.receipt.markDone(batch);
      }
    };
    const timer = setInterval(() => onProgress?.(meter.snapshot()), PROGRESS_EVERY_MS);
    try {
      const workers = Array.from({ length: this.options.parallel ?? 4 }, () => work());
      // The first failure stops the others, and all have ended before the caller goes on.
      const failures: unknown[] = [];
      const guarded = workers.map((worker) =>
        worker.catch((reason: unknown) => {
          failures.push(reason);
          stopper.abort(reason);
        }),
      );
      await Promise.all(guarded);
      this.options.signal?.throwIfAborted();
      if (failures.length > 0) throw failures[0];
      await copier.finishEmptyFiles();
    } finally {
      clearInterval(timer);
      await this.receipt.save({ ...record, bytesTransferred: meter.bytesTransferred });
    }
    onProgress?.(meter.snapshot());
    return meter.bytesTransferred;
  }
}

/** A slow line is asked for a quarter second's worth at once, so that its other users hardly notice. */
function batchBytes(bytesPerSecond: number | undefined): number {
  if (bytesPerSecond === undefined) return BATCH_BYTES;
  const blocks = Math.floor(bytesPerSecond / 4 / BLOCK_BYTES);
  return Math.min(BATCH_BYTES, Math.max(1, blocks) * BLOCK_BYTES);
}

async function readBootId(): Promise<string> {
  // Elsewhere than on Linux every start counts as a reboot: then all is compared by hash.
  return (await ifPresent(readFile('/proc/sys/kernel/random/boot_id', 'utf8')))?.trim() ?? String(process.pid);
}
