import { buffer } from 'node:stream/consumers';
import { Injectable } from '@nestjs/common';
import type { Proof } from '#contracts/archive';
import type { ArchiveRow } from '../archive.row.js';
import type { PointRow } from '../points/points.service.js';
import { SiteRestic } from '../restic/site-restic.js';
import { Damages } from '../checks/damages.service.js';
import { ContentSample } from './contents.js';
import { DumpProof, LoadFailedError, type ProofCheck } from './dump-proof.js';
import { FileProof } from './file-proof.js';
import { ProofQueue } from './proof-queue.js';
import { ProofScratch } from './proof-scratch.js';
import { lostRows, NOTHING_SEEN } from './seen.js';
import { Sightings } from './sightings.js';

/** Beside a dump lie the database that it becomes, with its indexes, and a server's own files. */
const DUMP_FACTOR = 4;
/** The roles of a server are a few lines each. */
const GLOBALS_BYTES = 16 * 2 ** 20;
const SERVER_BYTES = 512 * 2 ** 20;

export interface Proven {
  readonly checks: readonly ProofCheck[];
  readonly seconds: number;
  readonly rowCounts: Readonly<Record<string, number>> | null;
  /** What is told of folders beside the checks. */
  readonly seen: Pick<Proof, 'contents' | 'canaries'>;
}

interface RestoredDump {
  /** Whose `files` holds it. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly content: ProofCheck;
  readonly seconds: number;
}

/** How a recovery point is proven, by what was archived. */
@Injectable()
export class ProofWorks {
  constructor(
    private readonly files: FileProof,
    private readonly dumps: DumpProof,
    private readonly scratch: ProofScratch,
    private readonly queue: ProofQueue,
    private readonly restic: SiteRestic,
    private readonly damages: Damages,
    private readonly sightings: Sightings,
  ) {}

  /** @throws NoRoomError, RestoreDiffersError, LoadFailedError, NotLoadableError, DamagedObjectError, ResticFailedError */
  prove(archive: ArchiveRow, point: PointRow, signal: AbortSignal): Promise<Proven> {
    return this.damages.watched(point.archiveId, signal, (watched) => this.restore(archive, point, watched));
  }

  private async restore(archive: ArchiveRow, point: PointRow, signal: AbortSignal): Promise<Proven> {
    const bytes = await this.files.bytesOf(point.archiveId, point.snapshotId, signal);
    const isDump = archive.source === 'postgresql' && point.part !== null && point.part !== 'globals';
    return this.scratch.with(isDump ? bytes * DUMP_FACTOR + SERVER_BYTES : bytes, async (folder) => {
      const sample = new ContentSample(point.archiveId);
      const began = performance.now();
      const found = await this.files.restore(point, folder, signal, (file) => sample.offer(file));
      const seconds = (performance.now() - began) / 1_000;
      const content = {
        name: 'content',
        passed: true,
        found: `${found.files} files with ${found.bytes} bytes, each as the recovery point has it by hash`,
      };
      if (isDump) return this.load(archive, point, { folder, signal, content, seconds });
      const restored = { checks: [content], seconds, rowCounts: null };
      if (archive.source !== 'files') return { ...restored, seen: {} };
      const { contents, canaries } = await this.sightings.ofFiles(archive, point, {
        ...{ folder, signal },
        sample: sample.paths,
      });
      const told = canaries.map(({ path, state }) => ({ path, state }));
      return {
        ...restored,
        seen: { ...(contents ? { contents } : {}), ...(told.length > 0 ? { canaries: told } : {}) },
      };
    });
  }

  private async load(archive: ArchiveRow, point: PointRow, restored: RestoredDump): Promise<Proven> {
    const { folder, signal, content, seconds } = restored;
    const checks = archive.policy.checks.filter(({ database }) => database === point.part);
    const [before, globals] = [await this.queue.countsBefore(point), await this.globalsOf(point, signal)];
    try {
      const loaded = await this.dumps.load(folder, { checks, before, globals }, signal);
      const tables = lostRows(before, loaded.rowCounts);
      await this.sightings.keep(point, { ...NOTHING_SEEN, tables, unloadable: false });
      return { ...loaded, checks: [content, ...loaded.checks], seconds: seconds + loaded.seconds, seen: {} };
    } catch (error) {
      if (error instanceof LoadFailedError)
        await this.sightings.keep(point, { ...NOTHING_SEEN, unloadable: before === null ? null : true });
      throw error;
    }
  }

  private async globalsOf(point: PointRow, signal: AbortSignal): Promise<string | null> {
    const snapshotId = await this.queue.globalsOf(point);
    if (snapshotId === undefined) return null;
    if ((await this.files.bytesOf(point.archiveId, snapshotId, signal)) > GLOBALS_BYTES) return null;
    const work = { role: 'read', purpose: 'proving a recovery point', signal } as const;
    const stream = this.restic.stream(point.archiveId, ['dump', '--no-lock', snapshotId, '/globals.sql'], work);
    return (await buffer(stream)).toString('utf8');
  }
}
