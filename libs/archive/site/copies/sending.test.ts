import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { AheadClock } from '#test/ahead-clock';
import { Archives } from '../archives.service.js';
import { Damages } from '../checks/damages.service.js';
import { VaultService } from '../index.js';
import { TwoSites } from '../testing/two-sites.js';
import { CopyRows } from './copy-rows.service.js';
import { CopySite } from './copy-site.js';
import { Sending } from './sending.service.js';

/** Whoever looks at it finds that a minute has passed. */
class LeapingClock extends AheadClock {
  override monotonic(): number {
    this.ahead += 60_000;
    return super.monotonic();
  }
}

/** A database that is slow to take in what is said on the way, until the copy is whole. */
class LateRows extends CopyRows {
  written: boolean[] = [];

  constructor(
    work: SiteUnitOfWork,
    archives: Archives,
    private readonly whole: () => Promise<void>,
  ) {
    super(work, archives);
  }

  override async tell(...told: Parameters<CopyRows['tell']>): Promise<void> {
    const [, , , toControl] = told;
    if (!toControl) await this.whole();
    await super.tell(...told);
    this.written.push(toControl);
  }
}

const { signal } = new AbortController();
let sites: TwoSites;

beforeAll(async () => {
  sites = await TwoSites.start();
});
afterAll(() => sites.stop());

test('how far a copy is, written late, does not take the place of its end', async () => {
  const { first, second } = sites;
  const archiveId = await sites.archive();
  await first.backup(archiveId, await first.folder({ file: randomBytes(500_000) }));
  const [work, archives] = [first.get(SiteUnitOfWork), first.get(Archives)];
  const archive = await work.run((tx) => archives.get(tx, archiveId));
  const here = (await first.objects(archiveId)).length;
  const rows = new LateRows(work, archives, async () => {
    await waitFor('the copy', async () => (await second.objects(archiveId)).length === here, { timeoutMs: 30_000 });
    // Room for whoever would not wait for it.
    for (let turn = 0; turn < 100; turn += 1) await first.rows(`SELECT FROM archive_copy`);
  });
  const [vault, site] = [first.get(VaultService), first.get(CopySite)];
  const sending = new Sending(rows, vault, site, first.get(Damages), first.get(AppLogger), new LeapingClock());
  await sending.bring(archive, signal);
  expect(rows.written.length).toBeGreaterThan(2);
  expect(rows.written.at(-1)).toBe(true);
  const [row] = await first.rows(`SELECT missing_objects::int AS missing FROM archive_copy WHERE archive_id = $1`, [
    archiveId,
  ]);
  expect(row).toEqual({ missing: 0 });
});
