import { Body, Controller, Delete, Get, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { UnitOfWork } from '#libs/platform/database';
import {
  Answers,
  cursorText,
  decodeCursor,
  idParam,
  instant,
  pageOf,
  pageQuery,
  type PageQuery,
  toPage,
} from '#libs/platform/http';
import { Functions } from '#libs/protection/control';
import { CurrentCaller, plainText, RequireScope, type TenantCaller } from '#libs/tenancy/control';

const YEAR_SECONDS = 31_536_000;

const functionInput = z
  .strictObject({
    name: plainText(120).meta({ examples: ['Issue building permits'] }),
    mtdSeconds: z.int().min(1).max(YEAR_SECONDS).meta({ description: 'Maximum tolerable downtime.' }),
    rtoSeconds: z.int().min(1).max(YEAR_SECONDS).meta({ description: 'Recovery time objective; below the MTD.' }),
    rpoSeconds: z.int().min(0).max(YEAR_SECONDS).meta({ description: 'Recovery point objective.' }),
    priority: z.int().min(1).max(100).default(50).meta({ description: '1 is recovered first.' }),
  })
  .meta({ id: 'EssentialFunctionInput' });
// Without the default: a change must not set what it does not name.
const functionChange = functionInput
  .extend({ priority: z.int().min(1).max(100) })
  .partial()
  .meta({ id: 'EssentialFunctionChange' });

const functionView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    mtdSeconds: z.int(),
    rtoSeconds: z.int(),
    rpoSeconds: z.int(),
    priority: z.int(),
    createdAt: instant,
  })
  .meta({ id: 'EssentialFunction' });

const functionCursor = z.tuple([z.int(), cursorText, z.uuid()]);

@ApiTags('Essential functions')
@Controller('v1/functions')
export class FunctionsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly functions: Functions,
  ) {}

  @Post()
  @RequireScope('functions:write')
  @Answers({ status: 201, summary: 'Adds an essential function with its objectives', schema: functionView })
  create(@CurrentCaller() caller: TenantCaller, @Body({ schema: functionInput }) body: z.infer<typeof functionInput>) {
    return this.work.tenant(caller.tenantId, (tx) => this.functions.create(tx, body, caller.actor));
  }

  @Get()
  @RequireScope('functions:read')
  @Answers({ status: 200, summary: 'Essential functions by priority', schema: pageOf(functionView) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: pageQuery }) { limit, cursor }: PageQuery) {
    return this.work.tenant(caller.tenantId, async (tx) => {
      const rows = await this.functions.list(tx, decodeCursor(cursor, functionCursor), limit);
      return toPage(
        rows,
        limit,
        (row) => [row.priority, row.name, row.id],
        (row) => row,
      );
    });
  }

  @Get(':id')
  @RequireScope('functions:read')
  @Answers({ status: 200, summary: 'One essential function', schema: functionView })
  get(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string) {
    return this.work.tenant(caller.tenantId, (tx) => this.functions.get(tx, id));
  }

  @Patch(':id')
  @RequireScope('functions:write')
  @Answers({ status: 200, summary: 'Changes what is given of a function', schema: functionView })
  change(
    @CurrentCaller() caller: TenantCaller,
    @Param('id', { schema: idParam }) id: string,
    @Body({ schema: functionChange }) body: z.infer<typeof functionChange>,
  ) {
    return this.work.tenant(caller.tenantId, (tx) => this.functions.change(tx, id, body, caller.actor));
  }

  @Delete(':id')
  @RequireScope('functions:write')
  @Answers({ status: 204, summary: 'Removes a function that no workload serves' })
  async remove(@CurrentCaller() caller: TenantCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.tenant(caller.tenantId, (tx) => this.functions.remove(tx, id, caller.actor));
  }
}
