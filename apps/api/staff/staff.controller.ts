import { Body, Controller, Delete, Get, Param, Post, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Audit, auditCursor, auditEntry, PROVIDER_LOG } from '#libs/audit/control';
import { CurrentStaff, Identity, Staff, type StaffCaller, StaffOnly, staffRole } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, decodeCursor, idParam, pageOf, pageQuery, type PageQuery, toPage } from '#libs/platform/http';
import { email, plainText } from '#libs/tenancy/control';

const staffView = z
  .object({
    id: z.uuid(),
    email: z.string(),
    name: z.string(),
    role: staffRole,
    secondFactor: z.boolean(),
    createdAt: z.iso.datetime(),
    disabledAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'StaffMember' });
const staffList = z.object({ items: z.array(staffView) });
const newStaff = z.strictObject({ email, name: plainText(120), role: staffRole, password: z.string().min(1).max(200) });

@ApiTags('Staff')
@Controller('v1/staff')
export class StaffController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly staff: Staff,
    private readonly identity: Identity,
    private readonly audit: Audit,
  ) {}

  @Get('members')
  @StaffOnly('administrator')
  @Answers({ status: 200, summary: 'The provider’s staff', schema: staffList })
  list() {
    return this.work.provider(async (tx) => ({ items: await this.staff.list(tx) }));
  }

  @Post('members')
  @StaffOnly('administrator')
  @Answers({ status: 201, summary: 'Makes a staff member with a first password', schema: staffView })
  async create(@CurrentStaff() caller: StaffCaller, @Body({ schema: newStaff }) body: z.infer<typeof newStaff>) {
    const { password, ...who } = body;
    const passwordHash = await this.identity.hash(password, who.email);
    return this.work.provider((tx) => this.staff.create(tx, { ...who, passwordHash }, caller));
  }

  @Delete('members/:id')
  @StaffOnly('administrator')
  @Answers({ status: 204, summary: 'Disables a staff member; their sessions end' })
  async disable(@CurrentStaff() caller: StaffCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.provider((tx) => this.staff.disable(tx, id, caller));
  }

  @Get('audit')
  @StaffOnly('administrator')
  @Answers({ status: 200, summary: 'The provider’s own log, newest first', schema: pageOf(auditEntry) })
  log(@Query({ schema: pageQuery }) query: PageQuery) {
    const [before] = decodeCursor(query.cursor, auditCursor) ?? [];
    return this.work.provider(async (tx) => {
      const rows = await this.audit.list(tx, PROVIDER_LOG, { before, limit: query.limit + 1 });
      return toPage(
        rows,
        query.limit,
        (entry) => [entry.number],
        (entry) => entry,
      );
    });
  }
}
