import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Notices, noticeView } from '#libs/notifications/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, pageOf, pageQuery, type PageQuery } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';

@ApiTags('Agency')
@Controller('v1/notices')
export class NoticesController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly notices: Notices,
  ) {}

  @Get()
  @RequireScope('agency:read')
  @Answers({ status: 200, summary: 'What the agency was told, newest first', schema: pageOf(noticeView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) page: PageQuery) {
    return this.work.tenant(caller.tenantId, (tx) => this.notices.list(tx, page));
  }
}
