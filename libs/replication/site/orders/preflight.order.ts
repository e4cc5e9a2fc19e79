import { Inject } from '@nestjs/common';
import type { z } from 'zod';
import { preflightCommand, preflightOrder, type PreflightReport, preflightResult } from '#contracts/replication';
import { SiteUnitOfWork } from '#libs/platform/database';
import {
  AgentCommands,
  CarriesOut,
  type OrderHandler,
  type ReceivedOrder,
  SITE_DRIVER,
  SiteOutbox,
  type SiteDriver,
} from '#libs/sites/site';

import { roomFindings, siteFindings } from '../preflight/site-findings.js';

type Preflight = z.infer<typeof preflightOrder.payload>;

const PREFLIGHT_MS = 60_000;

/** Has the agent look at the server, compares that with this site, and tells what was found. */
@CarriesOut(preflightOrder)
export class PreflightOrderHandler implements OrderHandler<Preflight> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly agents: AgentCommands,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly outbox: SiteOutbox,
  ) {}

  async carryOut({ id, tenantId, payload }: ReceivedOrder<Preflight>, signal: AbortSignal): Promise<void> {
    const { preflightId, agentId, workloadName } = payload;
    const supportedMajors = [...(await this.driver.supportedMajors())];
    const report = await this.agents.call(
      agentId,
      preflightCommand,
      { workloadName, supportedMajors, expectedNames: null },
      { timeoutMs: PREFLIGHT_MS, signal },
    );
    const compared = await this.compared(report, supportedMajors);
    await this.work.run((tx) =>
      this.outbox.emit(tx, preflightResult, { tenantId, orderId: id }, { preflightId, report: compared }),
    );
  }

  private async compared(report: PreflightReport, majors: readonly number[]): Promise<PreflightReport> {
    const { server } = report;
    // Another version is a blocker that stands there already.
    if (!server || !majors.includes(server.majorVersion)) return report;
    const here = [...(await siteFindings(server, this.driver)), ...(await roomFindings(server, this.driver))];
    return {
      ...report,
      ok: report.ok && !here.some(({ severity }) => severity === 'blocker'),
      findings: [...report.findings, ...here],
    };
  }
}
