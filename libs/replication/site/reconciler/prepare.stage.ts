import { Inject, Injectable } from '@nestjs/common';
import type { ServerFacts } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SITE_DRIVER, type SiteDriver, type StandbySpecification } from '#libs/sites/site';
import { Credentials } from '../credentials.js';
import { ArmedLeases, Forwarders } from '../link/index.js';
import { siteFindings } from '../preflight/site-findings.js';
import { SiteUnfitError } from '../replication.errors.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { renderedRules, rulesToAdmit } from './hba.js';
import { requireSameCluster, SourceServer } from './source-server.js';
import { MOVED, type Outcome, type Stage } from './stage.js';

/** What a new copy changes in the link's rows. */
@Injectable()
export class LinkSide {
  constructor(
    readonly forwarders: Forwarders,
    readonly leases: ArmedLeases,
  ) {}
}

/**
 * Role and slot at the agency, room and ports here. The slot comes before the copy: without it the agency may throw away
 * the log that the copy needs (Patroni #2174).
 */
@Injectable()
export class PrepareStage implements Stage {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly source: SourceServer,
    private readonly credentials: Credentials,
    private readonly link: LinkSide,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
  ) {}

  async advance(standby: Standby, signal: AbortSignal): Promise<Outcome> {
    await this.link.forwarders.ensure(standby.workloadId);
    if (standby.follow === 'peer') return this.fromPeer(standby);
    const prepared = await this.source.prepare(standby, standby.freshSlot, signal);
    const { server } = prepared;
    requireSameCluster(standby, server);
    if (standby.server === null) await this.requireFit(server);
    const { port } = await this.driver.prepareStandby(standby.workloadId, {
      majorVersion: server.majorVersion,
      parameters: server.parameters,
      ...(await this.rules(standby, server, signal)),
    });
    await this.work.run(async (tx) => {
      await this.link.leases.forgetCopy(tx, standby.workloadId);
      await this.credentials.keep(tx, standby.workloadId, prepared);
      await this.standbys.change(tx, standby, {
        state: 'seeding',
        changes: {
          server,
          factsAt: this.clock.now(),
          standbyPort: port,
          slotRestartLsn: prepared.slotRestartLsn,
          freshSlot: false,
          seeding: null,
          seedingSince: this.clock.now(),
          retries: 0,
          retryAt: null,
        },
      });
    });
    return MOVED;
  }

  /** Those that a standby has here already stay where new ones cannot be trusted: nobody could sign in after a failover. */
  private async rules(
    standby: Standby,
    { hbaRules }: ServerFacts,
    signal: AbortSignal,
  ): Promise<Pick<StandbySpecification, 'hba'>> {
    const { workloadId, names } = standby;
    if ((await this.driver.phase(workloadId)) === undefined) return { hba: renderedRules(hbaRules, names) };
    const report = await this.source.preflight(standby, await this.driver.supportedMajors(), signal);
    const hba = rulesToAdmit(report, names);
    return hba ? { hba } : {};
  }

  /** The preflight was made at one site of the pair: this may be the other. @throws SiteUnfitError */
  private async requireFit(server: ServerFacts): Promise<void> {
    const findings = await siteFindings(server, this.driver);
    const blockers = findings.filter(({ severity }) => severity === 'blocker');
    if (blockers.length > 0) throw new SiteUnfitError(blockers);
  }

  /** The other site is the primary now: it makes the slot and hands over the credential when it asks to be followed. */
  private async fromPeer(standby: Standby): Promise<Outcome> {
    await this.work.run(async (tx) => {
      await this.link.leases.forgetCopy(tx, standby.workloadId);
      await this.standbys.change(tx, standby, {
        state: 'seeding',
        changes: { seeding: null, seedingSince: this.clock.now(), retries: 0, retryAt: null },
      });
    });
    return MOVED;
  }
}
