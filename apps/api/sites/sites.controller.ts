import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { type TenantTransaction, UnitOfWork } from '#libs/platform/database';
import { Answers } from '#libs/platform/http';
import { Workloads } from '#libs/protection/control';
import { suggestedPair } from '#libs/replication/control';
import { Agents, type Location, Sites } from '#libs/sites/control';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';
import { eligibleQuery, type EligibleQuery, eligibleSites } from './site.schemas.js';

@ApiTags('Sites')
@Controller('v1/sites')
export class SitesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly sites: Sites,
    private readonly agents: Agents,
    private readonly workloads: Workloads,
  ) {}

  @Get()
  @RequireScope('sites:read')
  @Answers({
    status: 200,
    summary: 'Warm sites with what each could be for a workload or an agent',
    description:
      'A site is near enough to be synchronous (metro) within 20 miles or 2 ms of measured round trip; every site may ' +
      'be regional. Distances come from the location of the workload, or else of its agent.',
    schema: eligibleSites,
  })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: eligibleQuery }) query: EligibleQuery) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const { place, agentId } = await this.place(tx, query);
      const items = await this.sites.eligible(tx, place, agentId);
      return { items, nextCursor: null, warnings: suggestedPair(items).warnings };
    });
  }

  private async place(
    tx: TenantTransaction,
    query: EligibleQuery,
  ): Promise<{ place: Location | null; agentId: string | null }> {
    if (query.workloadId !== undefined) {
      const { agentId, location } = await this.workloads.get(tx, query.workloadId);
      return { place: location ?? (await this.agents.location(tx, agentId)), agentId };
    }
    if (query.agentId === undefined) return { place: null, agentId: null };
    return { place: await this.agents.location(tx, query.agentId), agentId: query.agentId };
  }
}
