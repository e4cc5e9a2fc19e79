import { Controller, Get, Header, Query, StreamableFile } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { Audit, auditCursor, auditEntry } from '#libs/audit/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, pageOf, pageQuery, toPage } from '#libs/platform/http';
import { CurrentCaller, RequireScope, type TenantCaller } from '#libs/tenancy/control';

const auditQuery = pageQuery.extend({
  action: z.string().max(60).optional(),
  subjectId: z.string().max(60).optional(),
});
const exportQuery = z.strictObject({
  after: z.coerce.number().int().min(0).default(0).meta({ description: 'The number of the last entry you have.' }),
});

/** Entries read in one transaction of an export. */
const BATCH = 500;

@ApiTags('Audit')
@Controller('v1/audit')
export class AuditController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly audit: Audit,
  ) {}

  @Get()
  @RequireScope('audit:read')
  @Answers({ status: 200, summary: 'The agency’s log, newest first', schema: pageOf(auditEntry) })
  list(@CurrentCaller() caller: TenantCaller, @Query({ schema: auditQuery }) query: z.infer<typeof auditQuery>) {
    const [before] = decodeCursor(query.cursor, auditCursor) ?? [];
    return this.work.tenant(caller.tenantId, async (tx) => {
      const { action, subjectId, limit } = query;
      const rows = await this.audit.list(tx, caller.tenantId, { before, action, subjectId, limit: limit + 1 });
      return toPage(
        rows,
        limit,
        (entry) => [entry.number],
        (entry) => entry,
      );
    });
  }

  @Get('export')
  @RequireScope('audit:read')
  @Header('Content-Disposition', 'attachment; filename="audit.ndjson"')
  @Answers({
    status: 200,
    summary: 'The agency’s log, oldest first, one JSON object a line',
    description:
      'Each entry holds the hash of the one before, so a change or a gap shows: see `hash` and `previousHash` of AuditEntry.',
    mediaType: 'application/x-ndjson',
  })
  export(
    @CurrentCaller() caller: TenantCaller,
    @Query({ schema: exportQuery }) query: z.infer<typeof exportQuery>,
  ): StreamableFile {
    return new StreamableFile(Readable.from(this.lines(caller.tenantId, query.after)), {
      type: 'application/x-ndjson',
    });
  }

  /** Reads as fast as the client takes: no transaction stays open while it does not. */
  private async *lines(tenantId: string, after: number): AsyncGenerator<string> {
    for (let last = after; ;) {
      const entries = await this.work.tenant(tenantId, (tx) => this.audit.following(tx, tenantId, last, BATCH));
      if (entries.length > 0) yield `${entries.map((entry) => JSON.stringify(entry)).join('\n')}\n`;
      const newest = entries.at(-1);
      if (newest === undefined || entries.length < BATCH) return;
      last = newest.number;
    }
  }
}
