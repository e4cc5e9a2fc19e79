import { buffer } from 'node:stream/consumers';
import { Injectable } from '@nestjs/common';
import type { ArchiveRow } from '../archive.row.js';
import type { PointRow } from '../points/points.service.js';
import { SiteRestic } from '../restic/site-restic.js';
import { Damages } from '../checks/damages.service.js';
import { DumpProof, type ProofCheck } from './dump-proof.js';
import { FileProof } from './file-proof.js';
import { ProofQueue } from './proof-queue.js';
import { ProofScratch } from './proof-scratch.js';

/** Beside a dump lie the database that it becomes, with its indexes, and a server's own files. */
const DUMP_FACTOR = 4;
/** The roles of a server are a few lines each. */
const GLOBALS_BYTES = 16 * 2 ** 20;
const SERVER_BYTES = 512 * 2 ** 20;

export interface Proven {
  readonly checks: readonly ProofCheck[];
  readonly seconds: number;
  readonly rowCounts: Readonly<Record<string, number>> | null;
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
  ) {}

  /** @throws NoRoomError, RestoreDiffersError, LoadFailedError, NotLoadableError, DamagedObjectError, ResticFailedError */
  prove(archive: ArchiveRow, point: PointRow, signal: AbortSignal): Promise<Proven> {
    return this.damages.watched(point.archiveId, signal, (watched) => this.restore(archive, point, watched));
  }

  private async restore(archive: ArchiveRow, point: PointRow, signal: AbortSignal): Promise<Proven> {
    const { archiveId, snapshotId } = point;
    const bytes = await this.files.bytesOf(archiveId, snapshotId, signal);
    const isDump = archive.source === 'postgresql' && point.part !== null && point.part !== 'globals';
    return this.scratch.with(isDump ? bytes * DUMP_FACTOR + SERVER_BYTES : bytes, async (folder) => {
      const began = performance.now();
      const found = await this.files.restore(archiveId, snapshotId, folder, signal);
      const seconds = (performance.now() - began) / 1_000;
      const content = {
        name: 'content',
        passed: true,
        found: `${found.files} files with ${found.bytes} bytes, each as the recovery point has it by hash`,
      };
      if (!isDump) return { checks: [content], seconds, rowCounts: null };
      const checks = archive.policy.checks.filter(({ database }) => database === point.part);
      const [before, globals] = [await this.queue.countsBefore(point), await this.globalsOf(point, signal)];
      const loaded = await this.dumps.load(folder, { checks, before, globals }, signal);
      return { ...loaded, checks: [content, ...loaded.checks], seconds: seconds + loaded.seconds };
    });
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
