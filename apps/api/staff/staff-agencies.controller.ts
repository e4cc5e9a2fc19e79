import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { CurrentStaff, type StaffCaller, StaffOnly } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam, pageOf, pageQuery, type PageQuery } from '#libs/platform/http';
import { Agencies, agencyView, plainText } from '#libs/tenancy/control';

const reasonBody = z.strictObject({ reason: plainText(300) });

/** Staff's view of the agencies. A look into one is an entry of that agency's own log. */
@ApiTags('Staff')
@Controller('v1/staff/agencies')
export class StaffAgenciesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly agencies: Agencies,
  ) {}

  @Get()
  @StaffOnly()
  @Answers({ status: 200, summary: 'All agencies, by name', schema: pageOf(agencyView) })
  list(@Query({ schema: pageQuery }) page: PageQuery) {
    return this.work.provider((tx) => this.agencies.list(tx, page));
  }

  @Get(':id')
  @StaffOnly()
  @Answers({ status: 200, summary: 'One agency; the look is written into its log', schema: agencyView })
  get(@CurrentStaff() staff: StaffCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.provider((tx) => this.agencies.lookInto(tx, id, staff, 'agency'));
  }

  @Post(':id/suspend')
  @StaffOnly('operator')
  @Answers({
    status: 200,
    summary: 'Shuts an agency’s people and keys out; its protection goes on',
    schema: agencyView,
  })
  suspend(
    @CurrentStaff() staff: StaffCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: reasonBody }) body: z.infer<typeof reasonBody>,
  ) {
    return this.work.provider((tx) => this.agencies.suspend(tx, id, true, body.reason, staff));
  }

  @Post(':id/resume')
  @StaffOnly('operator')
  @Answers({ status: 200, summary: 'Lets a suspended agency in again', schema: agencyView })
  resume(
    @CurrentStaff() staff: StaffCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: reasonBody }) body: z.infer<typeof reasonBody>,
  ) {
    return this.work.provider((tx) => this.agencies.suspend(tx, id, false, body.reason, staff));
  }
}
