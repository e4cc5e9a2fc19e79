import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam, pageOf, pageQuery, type PageQuery } from '#libs/platform/http';
import { Enrolment } from '#libs/sites/control';
import {
  apiKeyRequest,
  type ApiKeyRequest,
  ApiKeys,
  apiKeyView,
  CurrentCaller,
  madeApiKey,
  RequireScope,
  type TenantCaller,
} from '#libs/tenancy/control';

@ApiTags('API keys')
@Controller('v1/api-keys')
export class ApiKeysController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly keys: ApiKeys,
    private readonly enrolment: Enrolment,
  ) {}

  @Get()
  @RequireScope('api-keys:read')
  @Answers({ status: 200, summary: 'The agency’s API keys, newest first', schema: pageOf(apiKeyView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) page: PageQuery) {
    return this.work.tenant(caller.tenantId, (tx) => this.keys.list(tx, page));
  }

  @Post()
  @RequireScope('api-keys:write')
  @Answers({
    status: 201,
    summary: 'Makes an API key and shows it once',
    description: 'A key can do no more than the member who makes it: failovers:declare needs the authority to declare.',
    schema: madeApiKey,
  })
  make(@CurrentCaller() caller: TenantCaller, @Body({ schema: apiKeyRequest }) body: ApiKeyRequest) {
    return this.work.tenant(caller.tenantId, (tx) => this.keys.make(tx, body, caller));
  }

  @Get(':id')
  @RequireScope('api-keys:read')
  @Answers({ status: 200, summary: 'One API key', schema: apiKeyView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.keys.get(tx, id));
  }

  @Delete(':id')
  @RequireScope('api-keys:write')
  @Answers({ status: 204, summary: 'Revokes an API key at once, with the unused enrolment tokens that it made' })
  async revoke(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, async (tx) => {
      await this.keys.revoke(tx, id, caller);
      await this.enrolment.withdrawMadeBy(tx, [id], caller.actor);
    });
  }
}
