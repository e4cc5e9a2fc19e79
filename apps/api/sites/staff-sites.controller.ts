import { Body, Controller, Get, Param, Patch, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Archives } from '#libs/archive/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam } from '#libs/platform/http';
import { ProtectionsAtSite } from '#libs/replication/control';
import { Sites } from '#libs/sites/control';
import { CurrentStaff, type StaffCaller, StaffOnly } from '#libs/tenancy/control';
import { siteChange, type SiteChange, siteRegistration, type SiteRegistration, staffSite } from './site.schemas.js';

const staffSites = z.object({ items: z.array(staffSite), nextCursor: z.null() });

@ApiTags('Staff')
@Controller('v1/staff/sites')
export class StaffSitesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly sites: Sites,
    private readonly protections: ProtectionsAtSite,
    private readonly archives: Archives,
  ) {}

  @Post()
  @StaffOnly('operator')
  @Answers({ status: 201, summary: 'Registers a warm site', schema: staffSite })
  register(@CurrentStaff() staff: StaffCaller, @Body({ schema: siteRegistration }) body: SiteRegistration) {
    const { id, ...input } = body;
    return this.work.provider((tx) => this.sites.register(tx, input, staff.actor, id));
  }

  @Get()
  @StaffOnly()
  @Answers({ status: 200, summary: 'All sites, retired ones too', schema: staffSites })
  list() {
    return this.work.provider(async (tx) => ({ items: await this.sites.list(tx), nextCursor: null }));
  }

  @Get(':id')
  @StaffOnly()
  @Answers({ status: 200, summary: 'One site with its state', schema: staffSite })
  get(@Param('id', { schema: idParam }) id: string) {
    return this.work.provider((tx) => this.sites.get(tx, id));
  }

  @Patch(':id')
  @StaffOnly('operator')
  @Answers({ status: 200, summary: 'Changes what is given of a site', schema: staffSite })
  change(
    @CurrentStaff() staff: StaffCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: siteChange }) body: SiteChange,
  ) {
    return this.work.provider(async (tx) => {
      const site = await this.sites.change(tx, id, body, staff.actor);
      if (body.gateway !== undefined || body.publicKey !== undefined) {
        await this.protections.siteMoved(tx, id);
        await this.archives.siteMoved(tx, id);
      }
      return site;
    });
  }

  @Post(':id/retire')
  @StaffOnly('operator')
  @Answers({
    status: 200,
    summary: 'Takes a site out of the choice, once nothing is protected or archived there',
    schema: staffSite,
  })
  retire(@CurrentStaff() staff: StaffCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.provider(async (tx) => {
      const inUse = (await this.protections.count(tx, id)) + (await this.archives.countAt(tx, id));
      return this.sites.retire(tx, id, inUse, staff.actor);
    });
  }
}
