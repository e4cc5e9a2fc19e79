import { Injectable } from '@nestjs/common';
import { SiteUnitOfWork } from '#libs/platform/database';
import type { ArchiveRow } from '../archive.row.js';
import { Damages } from '../checks/damages.service.js';
import { markForgotten, markReturned } from '../points/forgotten.js';
import { type PointRow, Points } from '../points/points.service.js';
import { VaultService } from '../vault/vault.module.js';
import { Maintenance } from './maintenance.js';

/** Recovery points that should be there and are not: a disk has lost them, or somebody who reached it took them away. */
@Injectable()
export class MissingPoints {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly points: Points,
    private readonly maintenance: Maintenance,
    private readonly vault: VaultService,
    private readonly damages: Damages,
  ) {}

  /**
   * Brings them back from the second copy; where there is none, says of them that they are missing, until they are there
   * again. To be called with the repository taken, once all that was to be forgotten is marked so: what is not in the vault
   * then was lost.
   */
  async look({ archiveId, second }: ArchiveRow): Promise<void> {
    // Without a config nothing of it is there: a disk that is not mounted has lost no single point.
    if (!(await this.vault.objects.stat(archiveId, { type: 'config' }))) return;
    const known = await this.work.run((tx) => this.points.list(tx, archiveId, { forgotten: true }));
    const expected = known.filter(isExpected);
    const there = await this.maintenance.present(
      archiveId,
      expected.map(({ snapshotId }) => snapshotId),
    );
    for (const { snapshotId: id, forgottenAt } of expected) {
      if (there.has(id) && forgottenAt !== null)
        await this.work.run((tx) => markReturned(tx, this.points, archiveId, id));
      if (there.has(id) || forgottenAt !== null) continue;
      // What the other site cannot give now is damage that people are told of, and is asked for again.
      if (second !== null) await this.damages.found(archiveId, { type: 'snapshots', id });
      else await this.work.run((tx) => markForgotten(tx, this.points, archiveId, id, 'missing'));
    }
  }
}

const isExpected = ({ forgottenAt, forgottenBecause }: PointRow): boolean =>
  forgottenAt === null || forgottenBecause === 'missing';
