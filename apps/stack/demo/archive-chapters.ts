import path from 'node:path';
import type { PointView } from '../sample/archive-client.js';
import { archiveAgency, type ArchivedAgency } from '../sample/archived-agency.js';
import type { ProtectedAgency } from '../sample/protected-agency.js';

export interface ArchiveResult {
  /** Files that the bad script removed or overwrote. */
  readonly ruined: number;
  /** Of them, so many have their old bytes again. */
  readonly broughtBack: number;
  /** From the call that asks for the restore to its end, as a technician waits. */
  readonly secondsToRestore: number;
  /** Recovery points that the provider restored by itself and found whole. */
  readonly proven: number;
}

/** What the archive is for: a folder is lost to a bad script, and comes back from before it. */
export class ArchiveChapters {
  private constructor(
    private readonly agency: ProtectedAgency,
    private readonly archived: ArchivedAgency,
    private readonly tell: (line: string) => void,
    private readonly check: (holds: boolean, otherwise: string) => void,
  ) {}

  /** The file share and the permits database, each with its schedule, and a first run of both. */
  static async begin(
    agency: ProtectedAgency,
    tell: (line: string) => void,
    check: (holds: boolean, otherwise: string) => void,
  ): Promise<ArchiveChapters> {
    const archived = await archiveAgency(agency, tell);
    for (const { state, failure } of archived.firstRuns) {
      check(state === 'completed', `a first run of the archive ended ${state}: ${failure?.message ?? ''}`);
    }
    return new ArchiveChapters(agency, archived, tell, check);
  }

  async loseAFolder(): Promise<ArchiveResult> {
    const { tell } = this;
    const { client, shareId } = this.archived;
    const { share } = this.agency.machine;
    const before = await share.hashes();
    const noticed = new Date().toISOString();
    tell('"clean up old scans": a bad script removes one folder and writes rubbish over another');
    await share.runBadScript();
    const ruined = countDifferent(before, await share.hashes());
    // The next run archives the damage, as it must: what counts is what was there before.
    const after = await client.run(shareId);
    this.check(after.state === 'completed', `the run after the script ended ${after.state}`);
    const [good] = await client.points(shareId, noticed);
    if (!good) throw new Error('there is no recovery point from before the script');
    const scans = path.join(share.directory, 'permits/scans');
    const names = await client.folder(good.id, scans);
    tell(
      `the recovery point of ${good.receivedAt} has ${names.length} files in ${path.basename(scans)}; restoring them`,
    );
    const asked = performance.now();
    const restore = await client.restore(good.id, [scans, path.join(share.directory, 'minutes')]);
    const secondsToRestore = (performance.now() - asked) / 1000;
    this.check(
      restore.state === 'completed' && restore.faultCount === 0,
      `the restore ended ${restore.state}: ${restore.failure?.message ?? ''}`,
    );
    const left = countDifferent(before, await share.hashes());
    this.check(ruined > 0, 'the script ruined nothing, so nothing was shown');
    this.check(left === 0, `${left} files are not as they were before the script`);
    const proven = await this.proofs(good);
    const { copy } = await client.copied(shareId, good.receivedAt);
    tell(`the second copy, at the regional site, is complete until ${copy?.completeUntil}`);
    return { ruined, broughtBack: ruined - left, secondsToRestore, proven };
  }

  private async proofs(ofShare: PointView): Promise<number> {
    const { client, permitsId } = this.archived;
    const points = [ofShare, ...(await client.points(permitsId))];
    const all = await Promise.all(points.map(({ id }) => client.proven(id)));
    const failed = all.filter(({ proof }) => proof.state !== 'proven');
    for (const { part, proof } of failed) {
      this.check(false, `the recovery point ${part ?? 'of the share'} was not proven: ${proof.failure?.message ?? ''}`);
    }
    return all.length - failed.length;
  }
}

function countDifferent(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): number {
  return [...before].filter(([file, hash]) => now.get(file) !== hash).length;
}
