import { Inject, Injectable } from '@nestjs/common';
import type { Alarm, Finding, ServerFacts } from '#contracts/replication';
import { Clock } from '#libs/platform/clock';
import { SiteUnitOfWork } from '#libs/platform/database';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { DomainError } from '#libs/platform/errors';
import { blocker } from '../preflight/finding.js';
import { siteFindings } from '../preflight/site-findings.js';
import type { Standby } from '../standby.row.js';
import { Standbys } from '../standbys.service.js';
import { rulesToAdmit } from './hba.js';
import { requireSameCluster, SourceServer } from './source-server.js';

const EVERY_MS = 60_000;
const TABLESPACE_REMEDY =
  'Ask the provider to allow its folder at the site. A standby that has come to it already goes on then; otherwise have it copied anew, which needs no path.';

/**
 * The preflight that goes on running: raised limits reach the standby before they can pause its replay, tablespaces'
 * directories are made, who may sign in at the agency may do so here, and what has become a blocker is an alarm.
 */
@Injectable()
export class ServerCare {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly standbys: Standbys,
    private readonly source: SourceServer,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
  ) {}

  isDue(standby: Standby): boolean {
    return standby.factsAt === null || this.clock.now().getTime() - standby.factsAt.getTime() >= EVERY_MS;
  }

  /** Asks the agent now and acts on it. Answers the row as it is now. */
  async look(standby: Standby, signal: AbortSignal): Promise<Standby> {
    const report = await this.source.preflight(standby, await this.driver.supportedMajors(), signal);
    const findings = [...report.findings];
    if (report.server) {
      requireSameCluster(standby, report.server);
      for (const tablespace of report.server.tablespaces) {
        findings.push(...(await this.ensureTablespace(standby, tablespace)));
      }
      await this.driver.raiseParameters(standby.workloadId, report.server.parameters);
      // Who may sign in changes in the course of years.
      const rules = rulesToAdmit(report, standby.names);
      if (rules) await this.driver.admit(standby.workloadId, rules);
      findings.push(...(await this.here(report.server)));
    }
    const server = report.server ? { server: report.server } : {};
    return this.work.run((tx) =>
      this.standbys.change(tx, standby, {
        changes: { ...server, findings: alarmsOf(findings), factsAt: this.clock.now() },
      }),
    );
  }

  /** One that cannot be had stops the replay, so that a person must know; it must not keep the rest from being done. */
  private async ensureTablespace(standby: Standby, tablespace: ServerFacts['tablespaces'][number]): Promise<Finding[]> {
    try {
      await this.driver.ensureTablespaceDirectory(standby.workloadId, tablespace);
      return [];
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'driver.tablespace-refused') throw error;
      const what = `Tablespace ${tablespace.name}: ${error.message}`;
      return [blocker('site.tablespace-refused', what, TABLESPACE_REMEDY)];
    }
  }

  /** An extension made since, for example. Its tablespaces have their directories by now, which are no strangers here. */
  private async here(server: ServerFacts): Promise<Finding[]> {
    return siteFindings({ ...server, tablespaces: [] }, this.driver);
  }
}

const alarmsOf = (findings: readonly Finding[]): Alarm[] =>
  findings
    .filter((finding) => finding.severity === 'blocker')
    .map(({ code, what, remedy }) => ({ code, what, remedy }));
