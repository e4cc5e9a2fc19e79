import { randomUUID } from 'node:crypto';
import type { SiteRole } from '#contracts/sites';
import { TestAgency } from './agency.js';
import { AgencyDesk } from './agency-desk.js';
import { WarmSite, type WarmSiteOptions } from './warm-site.js';

export interface WarmPair {
  readonly metro: WarmSite;
  readonly regional: WarmSite;
}

/** An agency with one of its sites. */
export interface LoneSite {
  readonly agency: TestAgency;
  readonly desk: AgencyDesk;
  readonly site: WarmSite;
  readonly workloadId: string;
}

/**
 * An agency with one workload, its agent, and the warm sites of that workload. A test opens what it needs of it, in this
 * order; `close` ends as much as there is.
 */
export class WarmWorld {
  readonly workloadId = randomUUID();
  readonly tenantId = randomUUID();
  private agency: TestAgency | undefined;
  private desk: AgencyDesk | undefined;
  private readonly sites: WarmSite[] = [];

  /** With an empty table, `permit`. */
  async openAgency(...how: Parameters<typeof TestAgency.start>): Promise<{ agency: TestAgency; desk: AgencyDesk }> {
    const agency = (this.agency = await TestAgency.start(...how));
    await agency.query('CREATE TABLE permit (id bigserial PRIMARY KEY, note text)');
    const desk = (this.desk = await AgencyDesk.open(agency));
    return { agency, desk };
  }

  /** A site that knows the agent, and nothing of the workload until it is told to protect it. */
  async openSite(role: SiteRole, how: Pick<WarmSiteOptions, 'standbys' | 'driver'> = {}): Promise<WarmSite> {
    const { desk, workloadId, tenantId } = this;
    if (!desk) throw new Error('the agency comes first');
    const site = await WarmSite.start({ role, desk, workloadId, tenantId, ...how });
    this.sites.push(site);
    return site;
  }

  /** The agency, and one site that has been told to protect the workload. */
  async openAlone(role: SiteRole): Promise<LoneSite> {
    const { agency, desk } = await this.openAgency();
    const site = await this.openSite(role);
    await site.protect();
    return { agency, desk, site, workloadId: this.workloadId };
  }

  async openPair(): Promise<WarmPair> {
    const [metro, regional] = await Promise.all([this.openSite('metro'), this.openSite('regional')]);
    return { metro, regional };
  }

  /** Both have all of the workload, and production waits for the metro. */
  async openProtectedPair(): Promise<WarmPair> {
    const { metro, regional } = await this.openPair();
    await Promise.all([metro.protect({ peer: regional.asPeer }), regional.protect({ peer: metro.asPeer })]);
    await metro.until('the metro to be armed', ({ armed }) => armed === true);
    await regional.until(
      'the regional to stream',
      ({ state, bytesBehind }) => state === 'streaming' && bytesBehind === 0,
    );
    return { metro, regional };
  }

  async close(): Promise<void> {
    await Promise.all(this.sites.map((site) => site.close()));
    await this.desk?.close();
    await this.agency?.remove();
  }
}
